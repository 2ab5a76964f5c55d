"""`gptloom explore`: a sweep over designs that can be built, and its Pareto front."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gptloom.cli.cores import Core
from gptloom.cli.output import check_outputs, console_for, say, show_figures
from gptloom.model.errors import UserError

if TYPE_CHECKING:
    from gptloom.boards.explore.point import Outcome, Point
    from gptloom.boards.explore.workers import Workers

BOARDS = "icebreaker,ice40-hx8k,ulx3s-25f,ulx3s-85f"


class Speed(StrEnum):
    """Speeds that a front may be of: a single stream's, or that of all streams together."""

    SINGLE = "single"
    ALL = "all"

    @property
    def title(self) -> str:
        """The speed in words."""
        return "tokens/s, " + ("one stream" if self is Speed.SINGLE else "all streams")

    def of(self, outcome: Outcome) -> int:
        """Return this speed of an outcome."""
        single, every = outcome.tokens_per_second, outcome.all_tokens_per_second
        return single if self is Speed.SINGLE else every


def explore(
    board: Annotated[str, typer.Option(help="Boards, with commas between them.")] = BOARDS,
    core: Annotated[str, typer.Option(help="Cores.")] = "folded,unrolled",
    lanes: Annotated[str, typer.Option(help="Folded: multipliers.")] = "8,16,32,64",
    bits: Annotated[
        str | None,
        typer.Option(
            help="Bits of weights; the folded core has 8.", show_default="unrolled: 4,5,6,8"
        ),
    ] = None,
    bits_per_cycle: Annotated[
        str, typer.Option(help="Unrolled: bits that enter products in a cycle.")
    ] = "1,2,4,8",
    positions_per_cycle: Annotated[
        str, typer.Option(help="Unrolled: cached positions seen in a cycle.")
    ] = "1,4",
    heads_per_cycle: Annotated[
        str | None,
        typer.Option(
            help="Unrolled: heads whose mix is computed in a cycle.",
            show_default="what is usual for the part",
        ),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            help="Shipped checkpoints or files.",
            show_default="names; of few bits names-w4, names-w5, names-w6",
        ),
    ] = None,
    build: Annotated[
        bool, typer.Option("--build", help="Place and route what fits by the estimate: hours.")
    ] = False,
    seeds: Annotated[
        int | None,
        typer.Option(min=1, help="--build: placements of each design.", show_default="1"),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="The sweep's file; what is finished in it is not run again.")
    ] = Path("sweep.jsonl"),
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Processes of this machine.", show_default="one a processor"),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(help="Address of a Dask cluster that runs the points (extra dask)."),
    ] = None,
    speed: Annotated[
        Speed, typer.Option(help="Whose tokens/s the front is of: of one stream, or of all.")
    ] = Speed.SINGLE,
    plot: Annotated[
        Path | None, typer.Option(help="Draw tokens/s against LUT into this PNG file.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write a summary and all points to this file.")
    ] = None,
    folder: Annotated[Path, typer.Option(help="--build: where builds go, one at a time.")] = Path(
        "build/explore"
    ),
    native: Annotated[
        bool, typer.Option("--native", help="--build with yosys and nextpnr from the PATH.")
    ] = False,
) -> None:
    """Estimate or build every combination of the options, and show which are best.

    Options take several values with commas between them. An interrupted sweep continues where it
    stopped when the same command is run again. The Pareto front considers tokens/s, lookup tables
    and held-out loss: anything faster than one of its points is larger, or has a higher loss.
    """
    from gptloom.boards.explore.evaluate import build_point, estimate_point
    from gptloom.boards.explore.models import Models
    from gptloom.boards.explore.space import Space
    from gptloom.boards.explore.store import Store
    from gptloom.boards.explore.sweep import front, sweep
    from gptloom.model.files import write_file, write_json

    if seeds and not build:
        raise UserError("--seeds are of placements: add --build, or leave it out")
    if jobs and scheduler:
        raise UserError("--jobs are of this machine, --scheduler has workers of its own: give one")
    check_outputs(out, plot, json_file)
    if plot:
        from gptloom.sim.cache_plot import check_extra

        check_extra()
    space = Space(
        boards=_values(board),
        cores=_cores(core),
        lanes=_numbers("--lanes", lanes),
        bits=_numbers("--bits", bits) if bits else (),
        bits_per_cycle=_numbers("--bits-per-cycle", bits_per_cycle),
        positions=_numbers("--positions-per-cycle", positions_per_cycle),
        heads_per_cycle=_numbers("--heads-per-cycle", heads_per_cycle)
        if heads_per_cycle
        else (None,),
        checkpoints=_values(checkpoint) if checkpoint else (None,),
        seeds=range(1, 1 + (seeds or 1)) if build else (None,),
    )
    models = Models()
    points, left_out = space.points(models)
    if not points:
        raise UserError(f"there is nothing to explore: {'; '.join(left_out)}")
    if build and not scheduler:
        _check_tools({point.board for point in points}, folder, native)
    evaluate = partial(build_point, folder=folder, native=native) if build else estimate_point
    workers, begun = _workers(jobs, scheduler), time.monotonic()
    with Store(out) as store:
        known = sum(point in store for point in points)
        try:
            with _Bar(len(points), known) as bar:
                failures = sweep(points, store, workers, evaluate, models, bar.advance)
        except KeyboardInterrupt:
            done = sum(point in store for point in points)
            say("stopped", f"{done} of {len(points)} points are in {out}: run it again for more")
            raise
        outcomes = [store[point] for point in points if point in store]
        others = len(store) - len(outcomes)
    seconds, ran = time.monotonic() - begun, len(outcomes) - known
    usable = [outcome for outcome in outcomes if not outcome.reason]
    best = front(usable, lambda o: (o.lut, -speed.of(o), o.loss))
    summary = {
        "points": len(points),
        "known": known,
        "ran": ran,
        "lost": len(failures),
        "usable": len(usable),
        "seconds": round(seconds, 1),
        "points_per_hour": round(ran / seconds * 3600),
        "speed": speed.value,
        "left_out": dict(left_out),
    }
    console = console_for(plot, json_file)
    if usable:
        _show(console, usable, best, speed)
    _tell(console, summary, out, Counter(o.reason for o in outcomes if o.reason), others)
    if json_file:
        figures = [asdict(outcome) | {"front": outcome in best} for outcome in outcomes]
        write_json(json_file, {**summary, "outcomes": figures})
    if plot and usable:
        from gptloom.boards.explore.plot import draw_front

        write_file(plot, draw_front(usable, best, speed.of, speed.title))
    if failures:
        _complain(failures)
        raise typer.Exit(1)


def _values(text: str) -> list[str]:
    return [value.strip() for value in text.split(",") if value.strip()]


def _numbers(option: str, text: str) -> list[int]:
    try:
        return [int(value) for value in _values(text)]
    except ValueError:
        raise UserError(f"{option} takes whole numbers with commas between, not {text!r}") from None


def _cores(text: str) -> list[str]:
    names = _values(text)
    for name in names:
        if name not in list(Core):
            raise UserError(f"there is no core {name}: the cores are {', '.join(Core)}")
    return names


def _check_tools(boards: Iterable[str], folder: Path, native: bool) -> None:
    """Refuse to begin if any tool needed on the way is missing."""
    from gptloom.boards.build import Build
    from gptloom.boards.table import find_board
    from gptloom.boards.tools import Tools

    for name in boards:
        Build(find_board(name), folder, Tools(native=native), nullcontext).find_tools()


def _workers(jobs: int | None, scheduler: str | None) -> Workers:
    from gptloom.boards.build import processors
    from gptloom.boards.explore.cluster import DaskWorkers
    from gptloom.boards.explore.workers import LocalWorkers

    return DaskWorkers(scheduler) if scheduler else LocalWorkers(jobs or processors())


class _Bar:
    """Progress of a sweep, on the terminal."""

    def __init__(self, total: int, known: int):
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        console = Console(stderr=True, highlight=False)
        self._bars = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("points{task.fields[bad]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bars.add_task("", total=total, completed=known, bad="")
        self._bad = 0

    def advance(self, outcome: Outcome | None) -> None:
        """Count one more point."""
        self._bad += outcome is None or outcome.reason is not None
        bad = f", {self._bad} of no use" if self._bad else ""
        self._bars.update(self._task, advance=1, bad=bad)

    def __enter__(self) -> _Bar:
        self._bars.start()
        return self

    def __exit__(self, *_) -> None:
        self._bars.stop()


def _show(console, usable: Sequence[Outcome], best: Sequence[Outcome], speed: Speed) -> None:
    """Print the usable outcomes, the fastest first."""
    from rich.table import Table

    routed = any("fmax_mhz" in outcome.figures for outcome in usable)
    table = Table(box=None, pad_edge=False)
    for title in ("", "board", "core", "checkpoint"):
        table.add_column(title, no_wrap=True)
    numbers = ("cycles/token", "tokens/s", "all streams", "LUT", "FF", "DSP", "BRAM", "loss")
    for title in (*numbers, *(("Fmax MHz",) if routed else ())):
        table.add_column(title, justify="right", no_wrap=True)
    for o in sorted(usable, key=speed.of, reverse=True):
        f = o.figures
        together = f.get("aggregate_tokens_per_second")
        table.add_row(
            "◆" if o in best else "",
            o.point.board,
            o.point.describe(),
            Path(o.point.checkpoint).stem,
            f"{f['cycles_per_token']:.1f}",
            f"{o.tokens_per_second:,}",
            f"{together:,}" if together else "",
            *(f"{f[name]:,}" for name in ("lut", "ff", "dsp", "bram")),
            f"{o.loss:.4f}",
            *((f"{f['fmax_mhz']:.1f}",) if routed else ()),
        )
    # On a narrow terminal, broken lines are better than truncated figures.
    whole = console.measure(table, options=console.options.update(width=1000)).maximum
    console.width = max(console.width, whole)
    console.print(table)
    console.print(f"\n◆ Pareto front of {speed.title}, LUT and loss: {len(best)} points\n")


def _tell(
    console,
    summary: Mapping[str, Any],
    out: Path,
    reasons: Mapping[str, int],
    others: int,
) -> None:
    """Print a summary of the sweep."""
    pace = f"{summary['ran']} in {summary['seconds']:.0f} s"
    if summary["ran"]:
        pace += f", {summary['points_per_hour']:,} an hour"
    rows = {
        "points": f"{summary['points']:,}, {summary['usable']:,} of use",
        "run now": f"{pace}; {summary['known']} were known",
        "kept in": f"{out}",
    }
    if others:
        rows["kept in"] += f", with {others} points of other sweeps, which are not shown"
    for title, why in (("of no use", reasons), ("left out", summary["left_out"])):
        if why:
            rows[title] = "\n".join(f"{count}: {reason}" for reason, count in why.items())
    show_figures(console, rows)


def _complain(failures: Mapping[Point, Exception]) -> None:
    """Report the points that are not finished."""
    for point, error in failures.items():
        say("error", f"{point.board}, {point.describe()}: {type(error).__name__}: {error}")
    say("error", f"{len(failures)} points are not finished: run the same command again for them")
