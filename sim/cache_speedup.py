"""Speedup by the KV cache: cycles of a token at every position, with it and without."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from statistics import mean

import numpy as np

from gptloom.firmware.image import build_image
from gptloom.firmware.machine import Machine
from gptloom.hdl.folded.core import FoldedCore
from gptloom.hdl.unrolled.core import UnrolledCore
from gptloom.model.golden import GoldenModel
from gptloom.model.integer import IntegerModel
from gptloom.model.merged.golden import GoldenModel as MergedGolden
from gptloom.model.merged.golden import Stream
from gptloom.model.merged.integer import MergedModel
from gptloom.sim.engines import Engine
from gptloom.sim.generation import compared
from gptloom.sim.session import CoreSession, Emitted
from gptloom.sim.streams import StreamSession

Open = Callable[[FoldedCore | UnrolledCore], Engine]


@dataclass(frozen=True)
class PositionCycles:
    """Cycles from a token's start to the next token, at one position."""

    position: int
    cached: int
    uncached: int


def mean_speedup(rows: list[PositionCycles]) -> float:
    """Return how many times faster a document that fills the context is with the cache."""
    return mean(row.uncached for row in rows) / mean(row.cached for row in rows)


def folded_speedup(
    model: IntegerModel, machine: Machine, open_engine: Open
) -> list[PositionCycles]:
    """Count a folded core's cycles in simulation, with its cache and with :class:`.Recompute`.

    Raises
    ------
    MismatchError
        If a token of either core is not the golden model's.
    """
    cached, uncached = (
        list(_token_cycles(model, FoldedCore(machine, cached=cache), open_engine))
        for cache in (True, False)
    )
    return [
        PositionCycles(position, *cycles)
        for position, cycles in enumerate(zip(cached, uncached, strict=True))
    ]


def _token_cycles(model: IntegerModel, core: FoldedCore, open_engine: Open) -> Iterator[int]:
    """Yield the cycles of a greedily chosen token at every position of a document."""
    image = build_image(model, core.machine)
    with open_engine(core) as engine:
        for prompt in _prompts(model):
            engine.reset()
            session = CoreSession(core, engine)
            session.load(image)
            session.temperature(model.logit_scale(0))
            engine.record(["control.start", "o__valid"])
            golden = GoldenModel(model).generate(1, 0, prompt)
            next(compared(session.tokens(prompt), golden))
            engine.step()
            recording = engine.recording()
            end = int(np.flatnonzero(recording["o__valid"])[0])
            yield end - int(np.flatnonzero(recording["control.start"][:end])[-1])


def unrolled_speedup(
    model: MergedModel, core: UnrolledCore, open_engine: Open
) -> list[PositionCycles]:
    """Count an unrolled core's cycles of one stream in simulation.

    There is no build without a cache. In its place the same core gets the document from its
    beginning for every token, as a prompt.

    Raises
    ------
    MismatchError
        If a token is not the golden model's.
    """
    prompts, rows = list(_prompts(model)), []
    with open_engine(core) as engine:

        def tokens(seed: int, prompt: tuple[int, ...]) -> Iterator[Emitted]:
            engine.reset()
            session = StreamSession(core, engine, model, [Stream(seed, 1.0, prompt)])
            golden = MergedGolden(model).generate(seed, 1.0, prompt)
            return compared(session.tokens(), golden)

        for position, prompt in enumerate(prompts):
            # After a document, so that both are counted from token to token.
            anew = tokens(1, prompt)
            while not next(anew).last:
                pass
            uncached = next(anew).cycles
            # The second token of the first document that has one.
            for seed in count(1) if position else ():
                kept = tokens(seed, prompts[position - 1])
                if not next(kept).last:
                    break
            rows.append(
                PositionCycles(position, next(kept).cycles if position else uncached, uncached)
            )
    return rows


def _prompts(model: IntegerModel | MergedModel) -> Iterator[tuple[int, ...]]:
    """Yield a prompt for every position, each the beginning of the next."""
    longest = [place % model.tokenizer.bos for place in range(model.config.context)]
    for length in range(model.config.context):
        yield tuple(longest[:length])
