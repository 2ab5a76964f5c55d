"""Recurrent sums against the golden model: mix, reciprocals and times, for streams of tokens."""

import random

import numpy as np
import pytest

from gptloom.firmware.image import Region, build_image
from gptloom.firmware.latencies import Latencies, update_cycles
from gptloom.firmware.machine import Machine
from gptloom.hdl.folded.recurrence import Recurrence
from gptloom.model import tables
from gptloom.model.config import ModelConfig
from gptloom.model.recurrent import RecurrentModel
from gptloom.sim.engines import open_engine

KIND = dict(positions="alibi", eviction="recurrent", hidden=4)
SHAPES = {
    "names": ModelConfig(**KIND),
    "small": ModelConfig(width=8, heads=2, vocabulary=7, **KIND),
    "one head": ModelConfig(width=4, heads=1, vocabulary=3, **KIND),
    "a byte a head": ModelConfig(width=4, heads=4, vocabulary=2, **KIND),
    # More words of values than a step takes cycles.
    "wide": ModelConfig(width=32, heads=1, vocabulary=2, **KIND),
    "not a power of two": ModelConfig(width=24, heads=4, vocabulary=9, **KIND),
}


class Stream:
    """Gives tokens to recurrent sums as the core does, and reads their mixes."""

    def __init__(self, engine, machine, model, seed=0):
        self.engine, self.machine = engine, machine
        self.golden = RecurrentModel(model)
        self.draw = random.Random(seed)
        self.state = self.golden.new_cache()
        self.load(build_image(model, machine))

    def load(self, image):
        for region, address, byte in image.writes(self.machine):
            if region is Region.POSITIONS:
                self.engine.poke("write_address", address)
                self.engine.poke("write_data", byte)
                self.engine.poke("write_enable", 1)
                self.engine.step()
        self.engine.poke("write_enable", 0)

    def token(self, token, fresh):
        """Compare a token's mix and reciprocals, in the cycle in which they are first needed."""
        engine, machine, heads = self.engine, self.machine, self.golden.config.heads
        if fresh:
            self.state = self.golden.new_cache()
        self.golden.step(np.array([token]), 0, self.state)
        own = self.state.sums[0, :, token]
        started = engine.cycles
        for name, value in (("start", 1), ("token", token), ("fresh", fresh)):
            engine.poke(name, value)
        engine.step()
        # Only the token is held.
        engine.poke("start", 0)
        engine.poke("fresh", self.draw.randrange(2))
        engine.step(Latencies.of(machine).sums - 2)
        for index in range(0, self.golden.config.width, machine.writers):
            engine.poke("index", index)
            engine.step()
            if index == 0:
                assert engine.cycles - started == Latencies.of(machine).sums
                mantissas, exponents = tables.reciprocal(own[:, 0])
                bits = engine.peek("reciprocals")
                seen = [bits >> 14 * head & (1 << 14) - 1 for head in range(heads)]
                assert seen == [m | e << 9 for m, e in zip(mantissas, exponents, strict=True)]
            for i in range(machine.writers):
                j = index + i
                value = engine.peek(f"sums__{i}")
                half = 1 << machine.accumulator_bits - 1
                assert (value ^ half) - half == own[j % heads, 1 + j // heads]
        while engine.peek("busy"):
            engine.step()
        assert engine.cycles - started >= update_cycles(machine)
        # The core takes two cycles from one token to the next.
        engine.step(2 + self.draw.choice([0, 0, 0, 1, 5]))


# Each number of lanes and each shape once, for everyday.
CASES = [
    (8, "one head"), (16, "small"), (64, "a byte a head"),
    (64, "not a power of two"),
]  # fmt: skip
LONG = [(8, "wide")]
OTHERS = [(lanes, name) for lanes in (8, 16, 64) for name in SHAPES]
OTHERS = [case for case in OTHERS if case not in CASES + LONG]


@pytest.mark.parametrize(
    ("lanes", "name"),
    [
        *CASES,
        *(pytest.param(*case, marks=pytest.mark.long) for case in LONG),
        *(pytest.param(*case, marks=pytest.mark.nightly) for case in OTHERS),
    ],
)
def test_sums_are_golden_for_streams_and_after_restarts(random_model, lanes, name, seed):
    config = SHAPES[name]
    machine = Machine.for_models(lanes, config)
    with open_engine(Recurrence(machine), "pysim") as engine:
        for number in range(2):
            # Another model in the same hardware is not affected by the one before.
            stream = Stream(engine, machine, random_model(config, number + 1), seed)
            for place in range(12):
                fresh = place == 0 or stream.draw.random() < 0.1
                stream.token(stream.draw.randrange(config.vocabulary), fresh)


@pytest.mark.parametrize("value", [-128, 127])
def test_the_largest_sums_fit(random_model, value):
    """One token for ever: the series converges to twice the table's maximum."""
    config = SHAPES["one head"]
    machine = Machine.for_models(16, config)
    with open_engine(Recurrence(machine), "pysim") as engine:
        stream = Stream(engine, machine, random_model(config, 1))
        stream.golden.table[:] = 1 << 14
        stream.golden.values[:] = value
        row = np.full((3, machine.row_words), 1 << 14, "<u2")
        row[:, -machine.value_words :] = int.from_bytes(bytes([value & 255] * 2))
        for address, byte in enumerate(row.tobytes()):
            engine.poke("write_address", address)
            engine.poke("write_data", byte)
            engine.poke("write_enable", 1)
            engine.step()
        engine.poke("write_enable", 0)
        for place in range(40):
            stream.token(1, place == 0)
        assert stream.state.sums[0, 0, 1, 0] == 1 << 15
        assert abs(stream.state.sums[0, 0, 1, 1] - 2 * value * (1 << 14)) < 256


def test_the_table_is_read_as_it_was_written(random_model):
    config = SHAPES["small"]
    machine = Machine.for_models(16, config)
    model = random_model(config, 3)
    data = build_image(model, machine).regions[Region.POSITIONS]
    assert len(data) == machine.position_words * machine.position_bytes
    with open_engine(Recurrence(machine), "pysim") as engine:
        Stream(engine, machine, model)
        engine.poke("reading", 1)
        for address in range(0, len(data), machine.position_bytes):
            engine.poke("read_address", address)
            engine.step(2)
            word = engine.peek("word").to_bytes(machine.position_bytes, "little")
            assert word == data[address : address + machine.position_bytes]
