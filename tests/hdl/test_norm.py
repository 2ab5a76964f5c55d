"""The norm's scalar equals the model's table for every residual stream."""

from dataclasses import replace

import numpy as np
import pytest

from gptloom.firmware.machine import LANES, Machine
from gptloom.hdl.folded.layouts import Listeners
from gptloom.hdl.folded.norm import Norm
from gptloom.model import tables
from gptloom.model.config import ModelConfig
from gptloom.model.formats import FINE, STANDARD

WIDTH = 24


def streams(machine, draw):
    """Streams of every magnitude, the extremes, and those with one element only."""
    low, high = ends(machine)
    yield np.zeros(WIDTH, np.int64)
    yield np.full(WIDTH, low)
    yield np.full(WIDTH, high)
    for value in (1, -1, 2, low, high):
        for place in (0, 3, WIDTH - 1):
            yield np.eye(WIDTH, dtype=np.int64)[place] * value
    for magnitude in (2, 3, 5, 17, 60, 200, high):
        for _ in range(6):
            yield draw.integers(-magnitude, magnitude, WIDTH)
    yield np.zeros(WIDTH, np.int64)


def ends(machine):
    """Return the extremes of an element."""
    limit = 1 << machine.precision.stream - 1
    return -limit, limit - 1


def beats(machine, values, listeners=("norm",)):
    for index in range(0, WIDTH, machine.writers):
        yield {
            "i__beat": {
                "enable": (1 << machine.writers) - 1,
                "index": index,
                "last": index + machine.writers == WIDTH,
                "to": dict.fromkeys(listeners, 1),
                "values": [int(v) for v in values[index : index + machine.writers]],
            }
        }


def scale(bench):
    norm = bench.get("norm")
    return norm.mantissa, norm.exponent


def expected(values):
    mantissa, exponent = tables.rsqrt(np.sum(values**2))
    return int(mantissa), int(exponent)


@pytest.fixture(params=[*LANES, "gated"], scope="module")
def norm(request, bench):
    config, precision, lanes = ModelConfig(width=WIDTH, hidden=96), STANDARD, request.param
    if lanes == "gated":
        config = replace(config, family="llama", positions="rotary")
        precision, lanes = FINE, 32
    machine = Machine.for_models(lanes, config, precision=precision)
    return machine, bench(Norm(machine))


def idle(machine, draw):
    # Not enabled, whatever else is on the wires.
    values = draw.integers(*ends(machine), machine.writers).tolist()
    return {"i__beat": {"to": {"norm": 1}, "last": 1, "values": values}}


def test_norm_of_a_stream_after_its_latency(norm):
    machine, block = norm
    draw = np.random.default_rng(3)
    for values in streams(machine, draw):
        cycles = []
        for beat in beats(machine, values):
            cycles += [*[idle(machine, draw)] * int(draw.choice([0, 0, 2])), beat]
        block.play([*cycles, idle(machine, draw)], [], after=block.component.latency - 1)
        assert scale(block) == expected(values)


def test_streams_back_to_back_and_the_earlier_norm_stays_until_then(norm):
    machine, block = norm
    draw = np.random.default_rng(4)
    vectors = list(streams(machine, draw))
    cycles = [beat for values in vectors for beat in beats(machine, values)]
    length = WIDTH // machine.writers
    seen = []
    for cycle in [*cycles, *[idle(machine, draw)] * block.component.latency]:
        block.set(**cycle)
        seen.append(scale(block))
        block.step()
    for number, values in enumerate(vectors):
        ready = (number + 1) * length - 1 + block.component.latency
        assert set(seen[ready : ready + length]) == {expected(values)}


def test_only_the_residual_stream_counts(norm):
    machine, block = norm
    draw = np.random.default_rng(5)
    values = draw.integers(*ends(machine), WIDTH)
    block.play(beats(machine, values), [])
    others = [name for name in Listeners.members if name != "norm"]
    for listeners in (*((name,) for name in others), others):
        block.play(beats(machine, draw.integers(*ends(machine), WIDTH), listeners), [])
    block.play([idle(machine, draw)], [], after=block.component.latency)
    assert scale(block) == expected(values)
