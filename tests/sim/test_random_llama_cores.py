"""Random shapes, weights and uses of a core of the Llama family; `--seed N` draws others."""

import random
from dataclasses import replace

import pytest

from gptloom.firmware.machine import LANES, LEAST_LANES, Machine
from gptloom.model.config import ModelConfig
from gptloom.model.family import Family
from gptloom.model.formats import PROFILES
from gptloom.model.llama_quantise import MOST_ROW_SHIFT
from verification.flips import check_all_judged, check_flips
from verification.interpreted import interpreted_core
from verification.llama import SHARED, make_loud
from verification.scoreboard.expectation import Expectation
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
    habits = Habits.drawn(draw, config.context)
    profile = draw.choice(list(PROFILES))
    return config, profile, habits, draw.randrange(1 << 16), draw.randrange(4)


def play(waves, lanes, model, habits, number, cycles):
    machine = Machine.for_models(lanes, model.config, precision=model.precision)
    bench = interpreted_core(machine, model, waves)
    return bench.play(Player(machine, model, number), habits, cycles)


def marked(number, lanes):
    # Simulated in Python, wide machines take long: at night each of them runs every case.
    first = number <= len(WIDTHS) and WIDTHS[number % len(WIDTHS)] == lanes < WIDTHS[-1]
    return pytest.param(number, lanes, marks=pytest.mark.long if first else pytest.mark.nightly)


@pytest.mark.parametrize(
    ("number", "lanes"), [marked(number, lanes) for number in range(1, 7) for lanes in WIDTHS]
)
def test_a_random_core(waves, seed, number, lanes):
    case = draw_case(f"{seed} {number}")
    print(f"--seed {seed}, case {number}, {lanes} lanes: {case}")
    config, profile, habits, weights, most = case
    play(waves, lanes, make_loud(config, PROFILES[profile], weights, most), habits, weights, 1_000)


def family(*dimensions, **properties):
    return ModelConfig(*dimensions, family="llama", positions="rotary", **properties)


OWN = family(2, 8, 2, 12, 8, 10, theta=20.0)
ALONE = family(1, 12, 8, 20, 8, 17, kv_heads=2, head_dim=2, eviction="window", tied=True)
MANY = family(1, 16, 16, 12, 8, 9, kv_heads=8, head_dim=2, tied=True)
"""Heads with keys of their own, four positions of which have their scores at a time; four heads
that share one, as wide as two elements; more heads than 32 lanes have units."""

CORES = {
    "pairs of heads in a ring": (32, SHARED, "J1"),
    "heads of their own": (32, OWN, "J2"),
    "four heads that share a key": (64, ALONE, "J1"),
    "as many lanes as there may be": (128, SHARED, "J2"),
    "more heads than units": (32, MANY, "J1"),
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=slow)
        for name, slow in zip(
            CORES,
            [[], *[pytest.mark.long] * 2, pytest.mark.nightly, pytest.mark.long],
            strict=True,
        )
    ],
)
def test_a_small_core(waves, name):
    """Every part of the family's hardware works: planted faults show here."""
    lanes, config, profile = CORES[name]
    model = make_loud(config, PROFILES[profile], 3, 1)
    head = model.network.head.matrix.name
    if not config.tied:
        # Logits so small, and some of their rows so much smaller, that shifts end.
        exponents = model.row_shifts[head].copy()
        exponents[::3] = MOST_ROW_SHIFT
        shifts = model.row_shifts | {head: exponents}
        model = replace(model, row_shifts=shifts, logit_unit=model.logit_unit / 256)
    assert play(waves, lanes, model, Habits(load=0.8, take=0.9, longest=7), 5, 1_500)


@pytest.mark.long
def test_every_bit_of_a_small_core_is_judged(waves):
    lanes, config, profile = CORES["pairs of heads in a ring"]
    model = make_loud(config, PROFILES[profile], 3, 1)
    machine = Machine.for_models(lanes, config, precision=model.precision)
    bench = interpreted_core(machine, model, waves)
    player, habits = Player(machine, model, 5), Habits(read=0.01, load=0.02, longest=7)
    for _ in range(1_500):
        for port, value in player.drive(habits).items():
            bench.engine.poke(port, value)
        player.observe(bench.engine.peek)
        bench.engine.step()
    rows, reference = bench.engine.recorded_rows(), bench.reference(model)
    expectation = Expectation(reference)
    block = expectation.advance(rows, 0)
    check_flips(rows, block, expectation.runs, reference)
    check_all_judged(block)
