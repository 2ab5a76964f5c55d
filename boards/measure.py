"""Cycles that a build's core takes, counted in simulation."""

from __future__ import annotations

from collections.abc import Callable
from statistics import mean

from gptloom.boards.estimate import SEED, TEMPERATURE, TEXT_POSITIONS
from gptloom.firmware.image import build_image
from gptloom.firmware.machine import Machine
from gptloom.hdl.folded.core import FoldedCore
from gptloom.hdl.unrolled.core import UnrolledCore
from gptloom.model.integer import IntegerModel
from gptloom.model.merged.golden import Stream
from gptloom.model.merged.integer import MergedModel
from gptloom.sim.engines import Engine, open_engine
from gptloom.sim.generation import Generation, Generator, Request, open_folded
from gptloom.sim.streams import generate_streams

MEASURED_NAMES = 200

MOST_TOKENS = 400
"""Tokens until every one of them has been seen, or else the mean is of those that were."""

Open = Callable[[FoldedCore | UnrolledCore], Engine]


def run_folded(
    model: IntegerModel, machine: Machine, names: int = MEASURED_NAMES, simulate: Open = open_engine
) -> Generation:
    """Generate whole documents in simulation.

    They are the documents of ``gptloom generate --count 200``: every token equals the golden
    model's.
    """
    generator = Generator(model, machine, simulate, build_image(model, machine))
    with generator.engine:
        return generator.run(Request(names, TEMPERATURE, SEED))


def run_unrolled(
    model: MergedModel,
    core: UnrolledCore,
    names: int = MEASURED_NAMES,
    simulate: Open = open_engine,
) -> tuple[Generation, Generation]:
    """Generate documents in simulation: of one stream alone, and of all streams together."""
    streams = [Stream(SEED + n, TEMPERATURE) for n in range(core.streams)]
    with simulate(core) as engine:
        alone = generate_streams(core, engine, model, streams[:1], max(1, names // core.streams))
        together = generate_streams(core, engine, model, streams, max(names, core.streams))
    return alone, together


def measure_folded(model: IntegerModel, machine: Machine) -> float:
    """Return the mean cycles of a token, counted in simulation of whole documents."""
    return run_folded(model, machine).cycles_per_token


def measure_text(model: IntegerModel, machine: Machine) -> float:
    """Return the mean cycles of a token over the first positions of a text, in simulation."""
    generator = Generator(model, machine, open_folded, build_image(model, machine))
    with generator.engine:
        run = generator.run(Request(MOST_TOKENS, TEMPERATURE, SEED, most=MOST_TOKENS))
    seen = run.mean_by_position()
    return mean(seen[position] for position in seen if position < TEXT_POSITIONS)


def measure_unrolled(model: MergedModel, core: UnrolledCore) -> tuple[float, float]:
    """Return the mean cycles of a token, of one stream alone and of all streams together.

    The beginning is left out, because the board generates without end: for one stream its very
    first token, whose prompt takes a cycle; for all streams the time until each has a token.
    """
    alone, together = run_unrolled(model, core)
    return mean(token.cycles for token in alone.emitted[1:]), together.steady_cycles_per_token
