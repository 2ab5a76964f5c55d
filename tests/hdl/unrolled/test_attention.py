"""Attention against the golden model's, stream by stream."""

import random

import numpy as np
import pytest

from gptloom.hdl.unrolled.attention import Attention
from gptloom.hdl.unrolled.target import Target
from gptloom.model.arithmetic import round_shift, saturate
from gptloom.model.merged.golden import GoldenModel
from gptloom.model.merged.integer import SCORE_BITS, Widths
from gptloom.sim.engines import open_engine


def own_scores(model, row):
    """Return the scores of a row's query with its own key."""
    heads = model.config.heads
    products = (row["q"] * row["k"]).reshape(heads, -1).sum(axis=1)
    return saturate(round_shift(products, model.layers[0].shifts["score"]), SCORE_BITS)


class Driver:
    """Feeds tokens of several documents to the hardware, and collects the outputs."""

    def __init__(self, component):
        self.engine, self.component = open_engine(component), component
        self.o, self.cycle, self.own = [], 0, {}

    def poke_row(self, name, values, bits):
        for i, value in enumerate(values):
            self.engine.poke(f"{name}__{i}", int(value) & (1 << bits) - 1)

    def step(self):
        if self.cycle in self.own:
            self.poke_row("own", self.own[self.cycle], SCORE_BITS)
        if self.engine.peek("o_valid"):
            bits = len(self.component.o[0])
            values = [self.engine.peek(f"o__{i}") for i in range(len(self.component.o))]
            self.o.append((self.cycle, [v - (v >> bits - 1 << bits) for v in values]))
        self.engine.step()
        self.cycle += 1


def check(model, streams, positions, heads_per_cycle, count, seed):
    """Feed random tokens to streams in turn; each mix must be golden, in the cycle it is due."""
    draw = random.Random(seed)
    config, golden = model.config, GoldenModel(model)
    multipliers = Target().multipliers(2 * positions * config.width, 0)
    component = Attention(model, 0, streams, positions, heads_per_cycle, multipliers)
    interval = max(component.beats, config.heads // heads_per_cycle)
    # A stream's mix is ready before its next token comes.
    assert streams * interval >= component.latency
    driver, expected = Driver(component), []
    caches = [golden.new_cache() for _ in range(streams)]
    position_at = [0] * streams
    with driver.engine as engine:
        for number in range(count * interval):
            turn, beat = divmod(number, interval)
            stream = turn % streams
            engine.poke("next_stream", (stream + 1) % streams)
            # Some turns are skipped.
            comes = beat == 0 and draw.random() < 0.9
            engine.poke("valid", comes)
            if comes:
                position = position_at[stream]
                ends = draw.random() < 0.1 or position == config.context - 1
                position_at[stream] = 0 if ends else position + 1
                token, found = draw.randrange(config.vocabulary), {}

                def note(_, site, value, found=found):
                    found[site] = value.ravel().tolist()

                golden.step(np.array([token]), position, caches[stream], note)
                row = {name: entries[token, position] for name, entries in model.table.items()}
                engine.poke("stream", stream)
                engine.poke("place", position)
                for name in ("q", "k", "v"):
                    driver.poke_row(name, row[name], model.widths.of_entry(name))
                driver.own[driver.cycle + component.own_waits] = own_scores(model, row)
                expected.append((driver.cycle + component.latency, found["mix"]))
            driver.step()
        for _ in range(component.latency):
            engine.poke("valid", 0)
            driver.step()
    assert driver.o == expected


@pytest.mark.parametrize(
    ("positions", "heads_per_cycle", "streams"),
    [
        pytest.param(2, 2, 5, marks=pytest.mark.long),
        *(
            # The more positions, the longer it takes to compile.
            pytest.param(*case, marks=pytest.mark.nightly)
            for case in [(1, 1, 5), (4, 1, 7), (16, 2, 10), (16, 4, 20)]
        ),
    ],
)
def test_mix(merged, positions, heads_per_cycle, streams):
    check(merged("names"), streams, positions, heads_per_cycle, 150, positions)


@pytest.mark.nightly
def test_mix_of_narrow_keys_and_values(merged):
    check(merged("names", Widths(keys=4, values=5)), 7, 4, 1, 150, 1)
