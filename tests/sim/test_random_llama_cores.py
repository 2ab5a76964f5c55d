"""Random shapes, weights and uses of a core of the Llama family; `--seed N` draws others."""

import random

import pytest

from gptloom.firmware.machine import LANES, LEAST_LANES, Machine
from gptloom.model.config import ModelConfig
from gptloom.model.family import Family
from gptloom.model.formats import PROFILES
from verification.interpreted import interpreted_core
from verification.llama import make_loud
from verification.scoreboard.player import Habits, Player

WIDTHS = [lanes for lanes in LANES if lanes >= LEAST_LANES[Family.LLAMA]]


def draw_shape(draw, **given):
    """Draw a shape; heads are few enough for any number of lanes."""
    heads = draw.choice((2, 4, 8))
    context = draw.choice((4, 8, 12))
    drawn = dict(
        layers=draw.choice((1, 1, 2, 3)),
        width=draw.choice((8, 12, 20)),
        heads=heads,
        hidden=draw.choice((4, 12, 20, 36)),
        context=context,
        vocabulary=draw.choice((3, 4, 5, 7, 8, 9, 15, 16, 17)),
        kv_heads=max(1, heads // draw.choice((1, 2, 4))),
        head_dim=draw.choice((2, 4, 6)),
        theta=draw.choice((10_000.0, 20.0)),
        tied=draw.choice((True, False)),
        **draw.choice(
            [{}, {"eviction": "window"}, {"eviction": "window", "sinks": draw.randrange(context)}]
        ),
    )
    return ModelConfig(family="llama", positions="rotary", **drawn | given)


def draw_case(seed):
    draw = random.Random(seed)
    config = draw_shape(draw)
    habits = Habits(
        offer=draw.choice((1, 0.1)),
        take=draw.choice((1, 0.2, 0.01)),
        warm=draw.choice((0, 0.02)),
        seed=draw.choice((0, 0.01)),
        read=draw.choice((0, 0.01)),
        reset=draw.choice((0, 0.001)),
        longest=draw.randrange(1, 2 + config.context),
        load=draw.choice((0, 0.01)),
    )
    profile = draw.choice(list(PROFILES))
    return config, profile, habits, draw.randrange(1 << 16), draw.randrange(4)


def run(waves, lanes, case, cycles):
    config, profile, habits, number, most = case
    model = make_loud(config, PROFILES[profile], number, most)
    machine = Machine.for_models(lanes, config, precision=model.precision)
    bench = interpreted_core(machine, model, waves)
    bench.play(Player(machine, model, number), habits, cycles)
    return bench


# Simulated in Python, wide machines take long.
EVERY_DAY = [(0, 32), (1, 32)]
MORE = [(number, lanes) for number in range(2, 8) for lanes in WIDTHS]


@pytest.mark.parametrize(
    ("number", "lanes"),
    [*EVERY_DAY, *(pytest.param(*case, marks=pytest.mark.long) for case in MORE)],
)
def test_a_random_core(waves, seed, number, lanes):
    case = draw_case(f"{seed} {number}")
    print(f"--seed {seed}, case {number}, {lanes} lanes: {case}")
    run(waves, lanes, case, 1_500)
