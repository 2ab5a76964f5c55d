"""A small unrolled core made of hardware products, used at random and recorded."""

import random
from dataclasses import dataclass, replace

import numpy as np
from checkpoints import make_random_checkpoint

from gptloom.hdl.multipliers import Multiplier
from gptloom.hdl.unrolled.array import ArrayMultiplier
from gptloom.hdl.unrolled.core import UnrolledCore
from gptloom.hdl.unrolled.dense import SlicedDense
from gptloom.hdl.unrolled.fabric import Fabric
from gptloom.hdl.unrolled.target import Target
from gptloom.model.config import ModelConfig
from gptloom.model.merged.golden import Stream
from gptloom.model.merged.quantise import quantise
from gptloom.sim.engines import open_engine
from gptloom.sim.streams import StreamSession
from verification.stages import Scoreboard

SMALL = ModelConfig(width=8, heads=2, hidden=8, context=4, vocabulary=5)

CELLS, CELLS_OF_LATER = 20, 60
"""Multipliers of the part, and more for every layer after the first: fewer than needed."""

INPUTS = (
    *("i__valid", "i__payload", "seed__valid", "seed__payload"),
    *("temperature", "o__ready", "rst"),
)


OUTPUTS = (
    *("i__ready", "seed__ready", "turn", "o__valid", "o__payload", "o_stream", "busy", "tokens"),
)


def random_model(layers=1, widths=None, **changes):
    """Return a small model with random weights, and changes to its configuration."""
    config = replace(SMALL, layers=layers, **changes)
    return quantise(make_random_checkpoint(config, seed=0), widths)


class Array(ArrayMultiplier):
    """A multiplier made of sums that every simulator knows."""

    fabric = Fabric


def part_for(layers):
    """Return a part with some multipliers; the others are arrays."""
    return Target(SlicedDense, Multiplier, CELLS + CELLS_OF_LATER * (layers - 1), Array)


def make_core(model, bits_per_cycle, positions, heads_per_cycle, target=None):
    """Return a core, by default for such a part."""
    return UnrolledCore(
        model,
        bits_per_cycle=bits_per_cycle,
        positions=positions,
        heads_per_cycle=heads_per_cycle,
        target=target or part_for(len(model.layers)),
    )


def some_streams(model, count, seed):
    """Return streams with prompts and temperatures of every kind."""
    draw = random.Random(seed)
    return [
        Stream(
            draw.randrange(1, 1 << 32),
            draw.choice((0, 0.3, 1.0, 2.0)),
            tuple(draw.randrange(model.tokenizer.bos) for _ in range(number % 3)),
        )
        for number in range(count)
    ]


@dataclass
class Recorded:
    """Streams of a core, and its recording by signal."""

    streams: list[Stream]
    signals: dict[str, np.ndarray]
    widths: dict[str, int]
    tokens: int


def play(core, model, cycles, seed=1):
    """Use a core for some cycles: all streams but one, with tokens that sometimes wait."""
    streams, draw = some_streams(model, max(1, core.streams - 1), seed), random.Random(seed)
    names = [*Scoreboard(core, model, streams).signals, *INPUTS, *OUTPUTS]
    tokens = 0
    with open_engine(core, every_name=True) as engine:
        engine.record(names)
        session = StreamSession(core, engine, model, streams)
        for _ in session.tokens():
            tokens += 1
            if engine.cycles >= cycles:
                break
            if draw.random() < 0.1:
                session.stall(draw.randrange(1, 2 * core.streams * core.interval))
        widths = {name: engine.width(name) for name in names}
        return Recorded(streams, engine.recording(), widths, tokens)
