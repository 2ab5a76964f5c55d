"""Random shapes, widths, weights and uses of a core; `--seed N` draws others, repeatably."""

import random
from dataclasses import replace

import numpy as np
import pytest

from gptloom.firmware.machine import LANES, Machine
from gptloom.model.config import ModelConfig
from gptloom.model.formats import CacheFormat, Precision, RowFormat
from gptloom.model.golden import GoldenModel
from verification.interpreted import interpreted_core
from verification.scoreboard.player import Habits, Player


def draw_case(seed):
    draw = random.Random(seed)
    heads = draw.choice((1, 2, 4))
    config = ModelConfig(
        layers=draw.choice((1, 1, 2)),
        width=draw.choice([width for width in (8, 16, 24) if width >= 4 * heads]),
        heads=heads,
        hidden=draw.choice((8, 12, 20)),
        context=draw.choice((4, 8)),
        vocabulary=draw.randrange(3, 12),
    )
    habits = Habits.drawn(draw, config.context)
    return draw.choice(LANES), config, habits, draw.randrange(1 << 16), draw.randrange(3)


@pytest.mark.parametrize(
    "number",
    [
        0,
        pytest.param(1, marks=pytest.mark.long),
        *(pytest.param(number, marks=pytest.mark.nightly) for number in range(2, 10)),
    ],
)
def test_a_random_core(random_model, waves, seed, number):
    lanes, config, habits, weights, finer = case = draw_case(f"{seed} {number}")
    print(f"--seed {seed}, case {number}: {case}")
    machine, model = Machine.for_models(lanes, config), random_model(config, weights, finer)
    bench = interpreted_core(machine, model, waves)
    assert bench.documents(1)
    bench.play(Player(machine, model, weights), habits, 1_000)


AT_THE_LIMITS = {
    "values beyond word 4,096": (8, ModelConfig(heads=2, width=60, hidden=120)),
    "noise later than logits": (64, ModelConfig(1, 8, 4, 8, 4, 300)),
    "one over the sums of eight heads": (32, ModelConfig(2, 32, 8, 12, 8, 9)),
    "sixteen heads of one element": (16, ModelConfig(1, 16, 16, 20, 8, 5)),
    "keys of sixteen heads in eight words": (8, ModelConfig(1, 16, 16, 4, 4, 3)),
    "more tokens than a byte counts": (16, ModelConfig(1, 8, 2, 8, 4, 260)),
}
"""Lanes and shapes, each a step beyond the former limit of some field or wait."""


EVERYDAY = "sixteen heads of one element"
# Simulated in Python, the first has the most weights; the largest cores of the night have more.
SLOWEST = {"values beyond word 4,096", "one over the sums of eight heads"}


def marked(name):
    if name == EVERYDAY:
        return name
    mark = pytest.mark.nightly if name in SLOWEST else pytest.mark.long
    return pytest.param(name, marks=mark)


@pytest.mark.parametrize("name", [marked(name) for name in AT_THE_LIMITS])
def test_a_core_beyond_a_former_limit(random_model, waves, name):
    lanes, config = AT_THE_LIMITS[name]
    machine, model = Machine.for_models(lanes, config), random_model(config, 5, 2)
    bench = interpreted_core(machine, model, waves)
    assert bench.documents(2)


PRECISIONS = {
    "weights of 8 bits, keys and values of 6": Precision(
        8, CacheFormat(RowFormat(6), RowFormat(6))
    ),
    "weights of 6 bits, keys and values of 8": Precision(6),
    "keys of 5 bits, values of 7": Precision(8, CacheFormat(RowFormat(5), RowFormat(7))),
}


@pytest.mark.parametrize(
    ("name", "lanes"),
    [
        pytest.param("keys of 5 bits, values of 7", 16, marks=pytest.mark.long),
        pytest.param("weights of 8 bits, keys and values of 6", 16, marks=pytest.mark.nightly),
        pytest.param("weights of 6 bits, keys and values of 8", 16, marks=pytest.mark.nightly),
        pytest.param("keys of 5 bits, values of 7", 64, marks=pytest.mark.nightly),
    ],
)
def test_rows_of_the_cache_have_a_width_of_their_own(random_model, waves, name, lanes):
    precision, config = PRECISIONS[name], ModelConfig(1, 16, 4, 16, 8, 7)
    drawn = random_model(config, 5, 1)
    narrower = 8 - precision.weights
    weights = {tensor: values >> narrower for tensor, values in drawn.weights.items()}
    shifts = drawn.shifts | {(0, site): drawn.shifts[0, site] - narrower for site in ("k", "v")}
    model = replace(drawn, precision=precision, weights=weights, shifts=shifts)
    machine = Machine.for_models(lanes, config, precision=Precision(cache=precision.cache))
    bench = interpreted_core(machine, model, waves)
    assert bench.documents(2)
    # Both ends of the range are reached: another width of rows would have been noticed.
    found = {}
    tokens = np.arange(8).reshape(1, 8) % config.vocabulary
    GoldenModel(model).logits(tokens, lambda _, site, value: found.update({site: value}))
    for site, bits in zip(("k", "v"), precision.cache.widths, strict=True):
        assert (found[site].min(), found[site].max()) == (-1 << (bits - 1), (1 << (bits - 1)) - 1)
