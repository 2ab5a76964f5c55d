"""Rows of every stream's cache, against the golden cache: rows, visibility and distances."""

import random
from dataclasses import replace

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gptloom.hdl.unrolled.rows import Rows, distance, farthest, place_of, seen
from gptloom.model.cache import KVCache
from gptloom.model.config import ModelConfig
from gptloom.model.positions import MAX_DISTANCE

ALIBI = ModelConfig(context=16, positions="alibi")
STREAMS = 3


class Asked(wiring.Component):
    """Visibility and distance of a row for a token."""

    def __init__(self, config):
        self._config = config
        super().__init__(
            {
                "place": In(place_of(config)),
                "row": In(range(config.context)),
                "seen": Out(1),
                "distance": Out(range(farthest(config) + 1)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        place, row = Signal.like(self.place), Signal.like(self.row)
        # The simulator needs a clock.
        m.d.sync += [place.eq(self.place), row.eq(self.row)]
        m.d.comb += [
            self.seen.eq(seen(self._config, place, row)),
            self.distance.eq(distance(self._config, place, row)),
        ]
        return m


CASES = [
    (rows, {"eviction": "window", "sinks": sinks})
    for rows, sinks in ((2, 0), (16, 0), (2, 1), (16, 1), (16, 5), (8, 7), (256, 0))
]


@pytest.mark.parametrize(("rows", "changes"), CASES, ids=str)
def test_rows_are_the_golden_caches(bench, rows, changes, seed):
    config, draw = replace(ALIBI, context=rows, **changes), random.Random(seed)
    block, asked = bench(Rows(config, STREAMS)), bench(Asked(config))
    caches, position = [KVCache(config, 1) for _ in range(STREAMS)], [None] * STREAMS
    for number in range(400 if rows < 256 else 1200):
        turn = number % STREAMS
        # Some turns are skipped; some streams end soon, and others never.
        enter = draw.random() < 0.8
        fresh = position[turn] is None or (turn < 2 and draw.random() < 0.02)
        block.set(enter=enter, turn=turn, fresh=fresh)
        if enter:
            position[turn] = 0 if fresh else position[turn] + 1
            (row,) = caches[turn].admit(position[turn])
            place, born = block.get("o"), caches[turn].born[0]
            assert place["row"] == row
            if draw.random() < 0.1 or number > 1150:
                for at in range(rows) if rows < 256 else draw.sample(range(rows), 8):
                    asked.set(place=place, row=at)
                    asked.step()
                    assert asked.get("seen") == (born[at] >= 0)
                    if born[at] >= 0:
                        expected = min(position[turn] - born[at], MAX_DISTANCE)
                        assert asked.get("distance") == expected
        block.step()


@pytest.mark.parametrize("rows", [4, 256])
def test_without_eviction_a_row_is_a_position(bench, rows):
    config = replace(ALIBI, context=rows)
    asked = bench(Asked(config))
    for position in {0, 1, 3, rows - 1}:
        for row in {0, 2, rows - 1}:
            asked.set(place={"row": position}, row=row)
            asked.step()
            assert asked.get("seen") == (row <= position)
            if row <= position:
                assert asked.get("distance") == min(position - row, MAX_DISTANCE)
