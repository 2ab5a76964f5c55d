"""Rows of caches that evict, against the golden cache: rows, distances and evictions."""

import random
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from gptloom.firmware.machine import Machine
from gptloom.hdl.folded.rows import Rows
from gptloom.model.cache import KVCache
from gptloom.model.config import ModelConfig
from gptloom.model.positions import MAX_DISTANCE
from gptloom.sim.engines import open_engine

ALIBI = ModelConfig(context=16, positions="alibi")


class Driver:
    """Drives a cache's rows through tokens as the core does, with pauses of any length."""

    def __init__(self, engine, config, seed):
        self.engine, self.config, self.draw = engine, config, random.Random(seed)
        engine.poke("final_row", config.context - 1)

    def pause(self, least=0):
        self.engine.step(least + self.draw.randrange(4))

    def pulse(self, port):
        self.engine.poke(port, 1)
        self.engine.step()
        self.engine.poke(port, 0)

    def start(self, first, position):
        self.engine.poke("first", int(first))
        self.engine.poke("position", position % self.config.context)
        self.pulse("start")
        self.pause()
        return self.engine.peek("row"), self.engine.peek("last")

    def distances(self, last):
        """Play a layer's scores; a row may be requested several times before its own."""
        found = []
        for row in range(last + 1):
            self.engine.poke("at", row)
            self.pause()
            found.append(self.engine.peek("distance"))
            self.pulse("passes")
        return found

    def numerators(self, last):
        """Play a layer's numerators, in whole words of four rows."""
        seen = np.zeros((last + 1, self.config.heads), np.int64)
        for row in range((last | 3) + 1):
            bits = 0
            if row <= last:
                seen[row] = [self.draw.choice([0, 0, 1, 40, 511]) for _ in seen[row]]
                bits = sum(int(n) << 9 * head for head, n in enumerate(seen[row]))
            self.engine.poke("place", row)
            self.engine.poke("numerators", bits)
            self.pulse("attended")
        self.pause(3)
        return seen


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, marks=pytest.mark.long),
        pytest.param({"eviction": "window"}, marks=pytest.mark.nightly),
        pytest.param({"eviction": "window", "sinks": 1}, marks=pytest.mark.nightly),
        {"eviction": "window", "sinks": 5},
        pytest.param({"eviction": "attention"}, marks=pytest.mark.long),
    ],
    ids=str,
)
def test_rows_are_the_golden_caches(changes, seed):
    largest = replace(ALIBI, **changes)
    with open_engine(Rows(Machine.for_models(16, largest))) as engine:
        # A model may use fewer rows than the hardware has, and any number of layers.
        for rows, layers in product((16, 8), (1, 3)):
            config = replace(largest, context=rows, layers=layers)
            driver = Driver(engine, config, seed)
            for length in (5, rows, 3 * rows, 150, 1):
                if not config.endless:
                    length = min(length, rows)
                cache = KVCache(config, 1)
                for position in range(length):
                    (row,) = cache.admit(position)
                    last = cache.occupied - 1
                    assert driver.start(position == 0, position) == (row, last)
                    expected = np.minimum(position - cache.born[0, : last + 1], MAX_DISTANCE)
                    for _ in range(layers):
                        assert driver.distances(last) == expected.tolist()
                        cache.attend(driver.numerators(last)[None])
