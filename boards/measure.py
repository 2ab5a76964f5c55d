"""Cycles that a build's core takes, counted in simulation."""

from __future__ import annotations

from statistics import mean

from gptloom.boards.estimate import SEED, TEMPERATURE
from gptloom.firmware.image import build_image
from gptloom.firmware.machine import Machine
from gptloom.hdl.unrolled.core import UnrolledCore
from gptloom.model.integer import IntegerModel
from gptloom.model.merged.golden import Stream
from gptloom.model.merged.integer import MergedModel
from gptloom.sim.engines import open_engine
from gptloom.sim.generation import Generator, Request
from gptloom.sim.streams import generate_streams

MEASURED_NAMES = 200


def measure_folded(model: IntegerModel, machine: Machine) -> float:
    """Return the mean cycles of a token, counted in simulation of whole documents.

    The same documents as ``gptloom generate --count 200`` has: every token equals the golden
    model's.
    """
    generator = Generator(model, machine, open_engine, build_image(model, machine))
    with generator.engine:
        generation = generator.run(Request(MEASURED_NAMES, TEMPERATURE, SEED))
    return generation.cycles_per_token


def measure_unrolled(model: MergedModel, core: UnrolledCore) -> tuple[float, float]:
    """Return the mean cycles of a token, of one stream alone and of all of them together.

    The beginning is left out, for the board generates without end: of one stream its very first
    token, whose prompt takes a cycle, of all of them what passes until each has a token.
    """
    streams = [Stream(SEED + n, TEMPERATURE) for n in range(core.streams)]
    with open_engine(core) as engine:
        alone = generate_streams(
            core, engine, model, streams[:1], max(1, MEASURED_NAMES // core.streams)
        )
        together = generate_streams(core, engine, model, streams, MEASURED_NAMES)
    return mean(alone.intervals[1:]), together.steady_cycles_per_token
