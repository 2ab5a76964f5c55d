"""Products and dot products equal plain integer arithmetic."""

import itertools
import random

import numpy as np
import pytest

from gptloom.firmware.machine import LANES, QUAD, Machine
from gptloom.hdl.folded.mac_array import MacArray, Multiplier
from gptloom.model.arithmetic import ACTIVATION_BITS, WEIGHT_BITS
from gptloom.model.config import ModelConfig

ACTIVATIONS = (-(1 << (ACTIVATION_BITS - 1)), (1 << (ACTIVATION_BITS - 1)) - 1)
WEIGHTS = (-(1 << (WEIGHT_BITS - 1)), (1 << (WEIGHT_BITS - 1)) - 1)


def test_multiplier_is_the_product_of_every_pair_of_corners_and_of_random_ones(bench):
    def corners(low, high):
        return [low, low + 1, -17, -16, -15, -2, -1, 0, 1, 2, 15, 16, 17, high - 1, high]

    draw = random.Random(1)
    pairs = list(itertools.product(corners(*ACTIVATIONS), corners(*WEIGHTS)))
    pairs += [(draw.randint(*ACTIVATIONS), draw.randint(*WEIGHTS)) for _ in range(1000)]
    inputs = [{"a": a, "b": b} for a, b in pairs]
    seen = bench(Multiplier()).play(inputs, ["o"], after=Multiplier.latency)
    assert [s["o"] for s in seen[Multiplier.latency :]] == [a * b for a, b in pairs]


def passes(machine, draw, count):
    """Return random passes with gaps: each cycle's inputs, and sums by the cycle of their end."""
    units, heads = machine.units, machine.heads
    inputs, expected = [], {}
    for number in range(count):
        broadcast = bool(draw.integers(2))
        offset = int(draw.integers(machine.words_per_position))
        # One pass in five is of extreme values only: the accumulator's range is used.
        extreme, quads = number % 5 == 0, int(draw.choice([1, 2, 4, 7, 24]))
        sums = np.zeros(units, np.int64)
        for quad in range(quads):
            while draw.random() < 0.1:
                inputs.append(({"valid": 0, "last": 1, "first": 1}, *noise(machine, draw)))
            if extreme:
                a = draw.choice(ACTIVATIONS, (heads, QUAD))
                b = draw.choice(WEIGHTS, (units, QUAD))
            else:
                a, b = noise(machine, draw)
            bank = int(draw.integers(heads))
            of_unit = (np.arange(units) + offset * units) % heads
            sums += np.sum((a[bank] if broadcast else a[of_unit]) * b, axis=1)
            issue = {
                "valid": 1,
                "first": quad == 0,
                "last": quad == quads - 1,
                "broadcast": broadcast,
                "bank": bank,
                "offset": offset,
                "job": {"operation": number % machine.program_words},
            }
            inputs.append((issue, a, b))
        expected[len(inputs) - 1] = (number % machine.program_words, sums.tolist())
    return inputs, expected


def noise(machine, draw):
    a = draw.integers(ACTIVATIONS[0], ACTIVATIONS[1] + 1, (machine.heads, QUAD))
    b = draw.integers(WEIGHTS[0], WEIGHTS[1] + 1, (machine.units, QUAD))
    return a, b


def packed(weights):
    return int.from_bytes(weights.astype(np.int8).tobytes(), "little")


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("heads", [1, 4])
def test_dot_products(bench, lanes, heads):
    machine = Machine.for_models(lanes, ModelConfig(heads=heads, hidden=128))
    inputs, expected = passes(machine, np.random.default_rng(lanes + heads), 40)
    block = bench(MacArray(machine))
    seen, foreseen = {}, None
    idle = ({"valid": 0}, *(np.zeros_like(x) for x in inputs[0][1:]))
    following = idle
    for cycle, (issue, a, b) in enumerate([*inputs, *[idle] * block.component.latency]):
        # Memories answer one cycle after the issue.
        block.set(issue=issue, quads=following[1].tolist(), words=packed(following[2]))
        following = (issue, a, b)
        if block.get("done"):
            sums = [int(total) for total in block.get("sums")]
            assert block.get("job").operation == foreseen
            seen[cycle - block.component.latency] = (block.get("job").operation, sums)
        foreseen = block.get("next_operation")
        block.step()
    assert seen == expected
