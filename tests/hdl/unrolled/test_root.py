"""The residual's root against the golden model."""

import random

import numpy as np
import pytest

from gptloom.hdl.unrolled.root import Root
from gptloom.model import tables
from gptloom.model.arithmetic import round_shift
from gptloom.model.merged.integer import Widths


def residuals(width):
    """Return extremes, every value of an element, and sums of squares of all sizes."""
    draw = random.Random(width)
    yield [0] * width
    yield [-128] * width
    yield [127] * width
    elements = draw.sample(range(-128, 128), 256)
    for i in range(0, 256, width // 2):
        # Half of the elements are 0: the sum may be small or large.
        row = elements[i : i + width // 2] + [0] * width
        yield draw.sample(row[:width], width)
    for _ in range(60):
        largest = draw.choice((1, 2, 3, 5, 8, 13, 30, 60, 128))
        yield [draw.randrange(-largest, largest) for _ in range(width)]


def root_of(model, residual):
    mantissa, exponent = tables.sqrt(np.sum(np.square(residual)))
    root = round_shift(mantissa << exponent, model.layers[-1].shifts["root"])
    return min(int(root), (1 << model.widths.root) - 1)


@pytest.mark.parametrize("name", ["names", "names-24"])
def test_root(bench, merged, golden_tokens, name):
    model = merged(name)
    component = Root(model, 0)
    assert component.latency == 3
    rows = list(residuals(model.config.width))
    expected = [root_of(model, row) for row in rows]
    assert min(expected) == 0
    assert max(expected) == 255
    tokens = golden_tokens(name)
    rows += tokens["residual"]
    expected += [root for (root,) in tokens["root"]]
    played = bench(component).play(
        [{"i": row, "valid": number % 3 != 1} for number, row in enumerate(rows)],
        ["o", "o_valid"],
        after=component.latency,
    )[component.latency :]
    found = [each["o"] for each in played]
    # The root holds until the next.
    stays = [expected[n - (n % 3 == 1)] for n in range(len(rows))]
    assert found == stays
    assert [each["o_valid"] for each in played] == [n % 3 != 1 for n in range(len(rows))]


def test_only_residuals_of_eight_bits(merged):
    with pytest.raises(ValueError, match="only 8 are possible"):
        Root(merged("names", Widths(residual=9)), 0)


@pytest.mark.long
def test_inverse_for_the_layer_that_follows(bench, merged):
    model = merged("names-2l")
    component = Root(model, 0)
    rows = list(residuals(model.config.width))
    expected = []
    for row in rows:
        mantissa, exponent = tables.rsqrt(np.sum(np.square(row)))
        inverse = round_shift(mantissa << model.layers[1].shifts["inverse"], exponent)
        expected.append(min(int(inverse), (1 << model.widths.root) - 1))
    assert len(set(expected)) > 20
    played = bench(component).play(
        [{"i": row, "valid": 1} for row in rows], ["inverse"], after=component.latency
    )
    assert [each["inverse"] for each in played[component.latency :]] == expected
