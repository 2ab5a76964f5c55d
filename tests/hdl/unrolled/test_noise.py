"""Noise against the sampler's generator and the golden model's scaling, stream by stream."""

import itertools
import random

import pytest

from gptloom.hdl.unrolled.noise import Noise, successor
from gptloom.model import sampling
from gptloom.model.merged.golden import GoldenModel

SEEDS = (1, 0x8000_0000, 0xFFFF_FFFF, 123456789)
TEMPERATURES = (0, 0.1, 0.17, 0.5, 1.0, 2.0)


def stepped(state, steps):
    for _ in range(steps):
        state = sampling.xorshift32(state)
    return state


@pytest.mark.parametrize("steps", [0, 1, 7, 27])
def test_successor(steps):
    masks = successor(steps)
    for seed in SEEDS:
        parities = [(seed & mask).bit_count() & 1 for mask in masks]
        assert sum(bit << i for i, bit in enumerate(parities)) == stepped(seed, steps)


@pytest.mark.parametrize("values_per_cycle", [1, 7, 27])
def test_noise(bench, merged, values_per_cycle):
    model = merged("names")
    golden, component = GoldenModel(model), Noise(model, values_per_cycle)
    vocabulary, draw = model.config.vocabulary, random.Random(values_per_cycle)
    states, generators = list(SEEDS), [sampling.noise(seed) for seed in SEEDS]
    inputs, expected, next_states, due = [], {}, {}, 0
    first_due = component.latency
    for stream in range(len(SEEDS)):
        for temperature in TEMPERATURES if values_per_cycle > 1 else TEMPERATURES[::2]:
            cycle = len(inputs)
            scale = model.noise_scale(temperature)
            shift = scale.shift - component.least_shift if scale.mantissa else 0
            token = {"mantissa": scale.mantissa, "shift": shift, "state": states[stream]}
            inputs.append(token | {"valid": 1})
            # Inputs between tokens do not matter.
            for _ in range(component.beats - 1 + draw.randrange(3)):
                inputs.append(
                    {"valid": 0, "mantissa": 511, "shift": 1, "state": draw.getrandbits(32)}
                )
            values = list(itertools.islice(generators[stream], vocabulary))
            states[stream] = next_states[cycle + 1] = stepped(states[stream], vocabulary)
            noise = golden.scaled_noise(values, scale).tolist()
            for beat in range(component.beats):
                due = cycle + beat + component.latency
                expected[due] = noise[beat * values_per_cycle :][:values_per_cycle]
    rig = bench(component)
    found = {}
    for cycle, values in enumerate([*inputs, *[{"valid": 0}] * (component.latency + 1)]):
        rig.set(**values)
        if cycle in expected:
            # The last beat may have lanes without a token.
            found[cycle] = rig.get("o")[: len(expected[cycle])]
        if cycle in next_states:
            assert rig.get("next_state") == next_states[cycle]
        rig.step()
    assert found == expected
    assert any(map(any, expected.values()))
    assert not any(any(expected[first_due + beat]) for beat in range(component.beats)), "greedy"


def test_values_per_cycle(merged):
    with pytest.raises(ValueError, match="choose 1 to 27"):
        Noise(merged("names"), 28)
