"""Placement and routing of a board's design, with the figures that builds and sweeps keep."""

from __future__ import annotations

from collections.abc import Sequence

from gptloom.boards.build import Build, best_of
from gptloom.boards.designs import Design, Settings
from gptloom.boards.measure import MEASURED_NAMES
from gptloom.boards.report import Result, Timing
from gptloom.model.errors import UserError


def place_and_route(
    task: Build, design: Design, settings: Settings, seeds: Sequence[int]
) -> Result:
    """Elaborate, synthesise, simulate, and place and route a design.

    The placed designs of all seeds are left in the task's folder.

    Parameters
    ----------
    task
        The build, with its board and folder.
    design
        The design to build.
    settings
        Settings that do not depend on the core.
    seeds
        Seeds of the placements; the fastest is reported.

    Returns
    -------
    Result
        Figures; without tokens/s if the clock is not reached.

    Raises
    ------
    UserError
        If a tool is missing or fails, or the design does not fit.
    """
    task.find_tools()
    check_characters(design.characters)
    with task.stage("elaboration"):
        sources = design.sources(settings)
    task.begin()
    flip_flops = task.synthesise(sources, design.required)
    with task.stage(f"simulating {MEASURED_NAMES} names"):
        measured = design.measure(sources.pll.hz)
    timings = task.place(seeds, sources.pll.hz / 1e6)
    best = best_of(timings)
    if not best.met:
        measured |= {name: None for name in measured if "per_second" in name}
    figures = {**describe(task, best), **design.figures, **measured, "ff": flip_flops}
    return Result(best, {t.seed: t.fmax_mhz for t in timings}, task.board.family, figures)


def check_characters(characters: str) -> None:
    """Refuse characters that the serial line would show as question marks.

    Raises
    ------
    UserError
        Naming a character that is not ASCII.
    """
    for character in characters:
        if not character.isascii():
            raise UserError(
                f"the character {character!r} cannot be sent as one byte on the serial line: use a "
                "checkpoint whose characters are ASCII"
            )


def describe(task: Build, timing: Timing) -> dict:
    """Return the figures of place-and-route, under the names of the record."""
    board, family = task.board, task.board.family
    versions = dict.fromkeys(task.tools.version(name) for name in task.required_tools())
    return {
        "board": board.name,
        "device": board.part,
        "fmax_mhz": round(timing.fmax_mhz, 2),
        "constraint_mhz": round(timing.constraint_mhz, 3),
        "met": timing.met,
        "lut": timing.count(family.logic),
        "dsp": timing.count(family.multipliers),
        "bram": timing.count(family.memories),
        "seed": timing.seed,
        "tools": ", ".join(versions),
    }
