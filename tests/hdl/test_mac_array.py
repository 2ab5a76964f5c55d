"""Products and dot products equal plain integer arithmetic."""

import itertools
import random
from collections import deque

import numpy as np
import pytest
from amaranth.hdl import signed

from gptloom.firmware.machine import LANES, QUAD, Machine
from gptloom.hdl.folded.mac_array import MacArray
from gptloom.hdl.multipliers import FabricMultiplier, Multiplier
from gptloom.model.arithmetic import ACTIVATION_BITS, WEIGHT_BITS
from gptloom.model.config import ModelConfig
from gptloom.model.formats import COARSE, FINE


def extremes(bits):
    return -(1 << bits - 1), (1 << bits - 1) - 1


@pytest.mark.parametrize("multiplier", [Multiplier, FabricMultiplier])
@pytest.mark.parametrize("bits", [(ACTIVATION_BITS, WEIGHT_BITS), (12, 9), (12, 8), (14, 10)])
def test_multiplier_is_the_product_of_every_pair_of_corners_and_of_random_ones(
    bench, multiplier, bits
):
    def corners(low, high):
        return [low, low + 1, -17, -16, -15, -2, -1, 0, 1, 2, 15, 16, 17, high - 1, high]

    draw, (ones, others) = random.Random(1), map(extremes, bits)
    pairs = list(itertools.product(corners(*ones), corners(*others)))
    pairs += [(draw.randint(*ones), draw.randint(*others)) for _ in range(1000)]
    inputs = [{"a": a, "b": b} for a, b in pairs]
    block = bench(multiplier(*map(signed, bits)))
    seen = block.play(inputs, ["o"], after=multiplier.latency)
    assert [s["o"] for s in seen[multiplier.latency :]] == [a * b for a, b in pairs]


def passes(machine, draw, count):
    """Return random passes with gaps: each cycle's inputs, and sums by the cycle of their end."""
    units, heads, shares = machine.units, machine.heads, machine.shares
    inputs, expected = [], {}
    for number in range(count):
        broadcast = bool(draw.integers(2))
        offset = int(draw.integers(machine.passes_per_position))
        share = int(draw.integers(shares))
        # Units whose heads share a key take turns at their words.
        own = np.arange(units)
        word_of = own if broadcast else own - own % shares + share
        # One pass in five is of extreme values only: the accumulator's range is used.
        extreme, quads = number % 5 == 0, int(draw.choice([1, 2, 4, 7, 24]))
        sums = np.zeros(units, np.int64)
        for quad in range(quads):
            while draw.random() < 0.1:
                inputs.append(({"valid": 0, "last": 1, "first": 1}, *noise(machine, draw)))
            if extreme:
                a = draw.choice(extremes(machine.element_bits), (heads, QUAD))
                b = draw.choice(extremes(machine.lane_bits), (units, QUAD))
            else:
                a, b = noise(machine, draw)
            # Fresh numerators take the place of what the memory reads, in first passes of mixes.
            fresh = machine.overlaps and not broadcast and offset == 0 and bool(draw.integers(2))
            bank = int(draw.integers(heads))
            of_unit = (np.arange(units) + offset * units) % heads
            sums += np.sum((a[bank] if broadcast else a[of_unit]) * b[word_of], axis=1)
            issue = {
                "valid": 1,
                "first": quad == 0,
                "last": quad == quads - 1,
                "broadcast": broadcast,
                "bank": bank,
                "offset": offset,
                **({"share": share} if shares > 1 else {}),
                **({"fresh": fresh} if machine.overlaps else {}),
                "job": {"operation": number % machine.program_words},
            }
            inputs.append((issue, a, b))
        expected[len(inputs) - 1] = (number % machine.program_words, sums.tolist())
    return inputs, expected


def noise(machine, draw):
    (least, most), (low, high) = extremes(machine.element_bits), extremes(machine.lane_bits)
    a = draw.integers(least, most + 1, (machine.heads, QUAD))
    b = draw.integers(low, high + 1, (machine.units, QUAD))
    return a, b


def packed(machine, weights):
    bits = machine.lane_bits
    return sum((int(w) & (1 << bits) - 1) << bits * i for i, w in enumerate(weights.flat))


def gated(lanes, heads, cached, precision):
    """Return a machine whose heads share keys and values."""
    config = ModelConfig(
        width=32, heads=heads, kv_heads=cached, hidden=128, family="llama", positions="rotary"
    )
    return Machine.for_models(lanes, config, precision=precision)


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("heads", [1, 4])
def test_dot_products(bench, lanes, heads):
    check(bench, Machine.for_models(lanes, ModelConfig(heads=heads, hidden=128)))


@pytest.mark.parametrize(
    "shape", [(32, 4, 2, FINE), (64, 8, 2, FINE), (32, 16, 4, COARSE)], ids=lambda s: str(s[:3])
)
def test_heads_that_share_keys(bench, shape):
    check(bench, gated(*shape))


def check(bench, machine):
    lanes, heads = machine.lanes, machine.heads
    inputs, expected = passes(machine, np.random.default_rng(lanes + heads), 40)
    block = bench(MacArray(machine))
    seen, foreseen = {}, None
    idle = ({"valid": 0}, *(np.zeros_like(x) for x in inputs[0][1:]))
    following = idle
    # Memories answer one cycle after the issue, operands of the family of Llama two.
    words = deque([idle[2]] * machine.gated)
    for cycle, (issue, a, b) in enumerate([*inputs, *[idle] * block.component.latency]):
        quads, other = following[1].tolist(), np.full(following[1].shape, 77).tolist()
        if following[0].get("fresh"):
            quads, other = other, quads
        if machine.overlaps:
            block.set(numerators=other)
        words.append(following[2])
        block.set(issue=issue, quads=quads, words=packed(machine, words.popleft()))
        following = (issue, a, b)
        if block.get("done"):
            sums = [int(total) for total in block.get("sums")]
            assert block.get("job").operation == foreseen
            seen[cycle - block.component.latency] = (block.get("job").operation, sums)
        foreseen = block.get("next_operation")
        block.step()
    assert seen == expected
