"""``gptloom bench`` without options: everything measured in one run, with published figures."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from gptloom.cli.cores import Core
from gptloom.cli.output import console_for

T = TypeVar("T")


def compare(
    core: Core | None,
    lanes: Sequence[int] | None,
    names: int | None,
    engine: str,
    json_file: Path | None,
    markdown_file: Path | None,
    plot: Path | None,
) -> None:
    """Measure cores and programs, print tables, and write the files asked for.

    Parameters
    ----------
    core
        Kind of core to measure; None for both.
    lanes
        Widths of the folded cores; None for all.
    names
        Number of names that each core generates; None for as many as in recorded builds.
    engine
        Engine of the simulation.
    json_file, markdown_file, plot
        Files for figures, page and picture.

    Raises
    ------
    UserError
        If there is no core with this many lanes, or no such engine.
    MismatchError
        If a core's token differs from the golden model's.
    """
    from rich.console import Console

    from gptloom.boards import comparison, lineup
    from gptloom.boards.estimate import TEMPERATURE
    from gptloom.boards.measure import MEASURED_NAMES
    from gptloom.model.checkpoint import load_checkpoint
    from gptloom.model.files import write_file, write_json
    from gptloom.sim.baseline.measure import REPETITIONS, cpu_name, measure_software
    from gptloom.sim.engines import open_engine

    console = console_for(json_file, markdown_file, plot)
    notices = Console(stderr=True, highlight=False)
    cores: list[dict] = []
    names = names or MEASURED_NAMES
    with notices.status("") as status:
        simulate = partial(open_engine, kind=engine, progress=status.update)
        if core is not Core.UNROLLED:
            found = lineup.measure_folded_cores(lanes or lineup.LANES, names, simulate)
            cores += _told(notices, found, comparison.name)
        if core is not Core.FOLDED:
            found = lineup.measure_unrolled_cores(names, simulate)
            cores += _told(notices, found, comparison.name)
        status.update("Measuring programs on this machine")
        found = measure_software(load_checkpoint(lineup.FOLDED))
        software = _told(notices, found, lambda speed: speed.name)
    machine = {
        "cpu": cpu_name(),
        "names": names,
        "temperature": TEMPERATURE,
        "repetitions": REPETITIONS,
    }
    figures = comparison.compare(cores, software, machine)
    for table in comparison.tables(figures).values():
        _print(console, table)
    if json_file:
        write_json(json_file, figures)
    if markdown_file:
        from gptloom.boards.pages import markdown

        picture = Path(os.path.relpath(plot, markdown_file.parent)).as_posix() if plot else ""
        write_file(markdown_file, markdown(figures, picture).encode())
    if plot:
        from gptloom.boards.speed_plot import draw_speeds

        write_file(plot, draw_speeds(figures))
    for file in (json_file, markdown_file, plot):
        if file:
            console.print(f"Wrote {file}.")


def _told(console, found: Iterable[T], title: Callable[[T], str]) -> list[T]:
    """Return the results, measured one after another, and report each one as it comes."""
    measured, begun = [], time.monotonic()
    for result in found:
        measured.append(result)
        now = time.monotonic()
        console.print(f"[dim]{title(result)}: {now - begun:.1f} s[/]")
        begun = now
    return measured


def _print(console, table) -> None:
    from rich import box
    from rich.table import Table

    if not table.rows:
        return
    shown = Table(title=table.title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for place, heading in enumerate(table.columns):
        if place < table.texts:
            shown.add_column(heading, overflow="fold")
        else:
            # Numbers stay whole: on a narrow terminal, words give way.
            shown.add_column(heading.replace(" ", "\n"), justify="right", no_wrap=True)
    for row in table.rows:
        shown.add_row(*row)
    console.print(shown)
