"""Functions and combinations of scaled results equal the model's arithmetic."""

import numpy as np
import pytest

from gptloom.firmware.machine import Machine
from gptloom.hdl.folded.functions import Functions
from gptloom.model import arithmetic, tables
from gptloom.model.arithmetic import GATE_SHIFT, SILU_BITS, SILU_RESULT_BITS
from gptloom.model.config import ModelConfig
from gptloom.model.formats import PROFILES

CONFIG = ModelConfig(heads=2, hidden=16, family="llama", positions="rotary")
WRITERS = 4


@pytest.fixture(params=PROFILES)
def functions(request, bench):
    precision = PROFILES[request.param]
    return precision, bench(Functions(Machine.for_models(32, CONFIG, precision=precision)))


def numbers(draw, bits, count=400):
    """Return rows of random numbers, extremes among them."""
    low, high = -(1 << bits - 1), (1 << bits - 1) - 1
    found = draw.integers(low, high + 1, (count, WRITERS))
    some = draw.random(found.shape) < 0.2
    return np.where(some, draw.choice([low, low + 1, -1, 0, 1, high], found.shape), found)


def play(block, choice, keys=0, output="o", latency=1, **inputs):
    """Return what becomes of rows of inputs, one after the other without a gap."""
    seen = []
    for i in range(len(inputs["i"]) + latency):
        at = min(i, len(inputs["i"]) - 1)
        block.set(choice=choice, keys=keys)
        block.set(**{name: values[at] for name, values in inputs.items()})
        if i >= latency:
            seen.append(block.get(output))
        block.step()
    return seen


def lists(values):
    return [row.tolist() for row in values]


def test_the_stream_is_added_and_saturates(functions):
    precision, block = functions
    draw = np.random.default_rng(1)
    values, stream = numbers(draw, 16), numbers(draw, precision.stream)
    seen = play(block, {"adds": 1}, i=lists(values), stream=lists(stream))
    assert seen == lists(arithmetic.saturate(values + stream, precision.stream))


def test_results_are_multiplied_with_their_gates(functions):
    precision, block = functions
    draw = np.random.default_rng(2)
    values, gates = numbers(draw, precision.activations), numbers(draw, SILU_RESULT_BITS)
    seen = play(block, {"multiplies": 1}, i=lists(values), gates=lists(gates))
    product = arithmetic.round_shift(values * gates, GATE_SHIFT)
    assert seen == lists(arithmetic.saturate(product, precision.activations))


def test_every_argument_of_silu(functions):
    _, block = functions
    arguments = np.arange(-(1 << SILU_BITS - 1), 1 << SILU_BITS - 1).reshape(-1, WRITERS)
    seen = play(block, {}, output="gate", latency=2, i=lists(arguments))
    assert seen == lists(tables.silu(arguments))


@pytest.mark.parametrize("keys", [0, 1])
def test_pairs_are_turned(functions, keys):
    precision, block = functions
    draw = np.random.default_rng(3)
    values = numbers(draw, precision.unrotated)
    phases = draw.integers(0, len(tables.SINE_TABLE), (len(values), 2))
    quarter = len(tables.SINE_TABLE) // 4
    sine, cosine = tables.SINE_TABLE[phases], np.roll(tables.SINE_TABLE, -quarter)[phases]
    turns = [
        [{"cosine": int(c), "sine": int(s)} for c, s in zip(*pair, strict=True)]
        for pair in zip(cosine, sine, strict=True)
    ]
    bits = precision.cache.keys.bits if keys else precision.activations
    expected = arithmetic.rotate(
        values.reshape(-1, 2, 2), cosine, sine, precision.unrotated - bits, bits
    )
    seen = play(block, {"turns": 1}, keys, i=lists(values), turns=turns)
    assert seen == lists(expected.reshape(-1, WRITERS))


def test_others_stay_as_they_are(functions):
    _, block = functions
    values = numbers(np.random.default_rng(4), 16)
    assert play(block, {}, i=lists(values)) == lists(values)
