"""A carry cell adds a function of three bits, with the connections that were found."""

from itertools import product

import pytest

from gptloom.hdl.unrolled.chains import absorbs, connect

EDGES = [(k, k | 1 << i) for k in range(8) for i in range(3) if not k >> i & 1]


def cell(init, a, pins, carry):
    """Return the sum and the carry out of half a CCU2C."""
    b, c, d = pins
    lookup = init >> (a | b << 1 | c << 2 | d << 3) & 1
    return lookup ^ carry, carry if lookup else init >> (a | b << 1) & 1


@pytest.mark.parametrize("bits", [0, 1, 2, 3])
def test_every_function_that_is_connected_is_added(bits):
    for truth in range(1 << (1 << bits)):
        pins = connect(truth, bits)
        if pins is None:
            continue
        for a, carry, *values in product((0, 1), repeat=2 + bits):
            added = truth >> sum(v << i for i, v in enumerate(values)) & 1
            connected = [
                values[bit] ^ inverted
                for bit, inverted in zip(pins.order, pins.inverted, strict=True)
            ]
            connected += [1] * (3 - len(connected))
            expected = a + added + carry
            assert cell(pins.init, a, connected, carry) == (expected & 1, expected >> 1)


def test_functions_of_two_bits_are_always_connected():
    assert all(connect(truth, bits) for bits in (0, 1, 2) for truth in range(1 << (1 << bits)))


def test_only_functions_without_two_neighbouring_zeros_are_not():
    refused = {truth for truth in range(256) if connect(truth, 3) is None}
    needs_three = [
        all(any((t >> k ^ t >> (k ^ 1 << i)) & 1 for k in range(8)) for i in range(3))
        for t in range(256)
    ]
    zeros = [any(not (t >> a | t >> b) & 1 for a, b in EDGES) for t in range(256)]
    assert refused == {t for t in range(256) if needs_three[t] and not zeros[t]}
    assert len(refused) > 20


def test_absorbing_considers_every_bit_of_the_sum():
    assert absorbs((1, 2, 4), 8)
    # The lowest bit of three equal weights is a parity, which has no two neighbouring zeros.
    assert not absorbs((1, 1, 1), 1)
    assert not absorbs((2, 2, 2), 2)
    assert absorbs((2, 2, 2), 1)
