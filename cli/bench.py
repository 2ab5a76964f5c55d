"""``gptloom bench``: measurements of simulated hardware and of programs, to compare them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gptloom.cli.compare import compare
from gptloom.cli.cores import Core, refuse_options
from gptloom.cli.output import check_outputs, console_for, say
from gptloom.model.errors import UserError

if TYPE_CHECKING:
    from gptloom.sim.cache_speedup import PositionCycles

_LANES = (16, 64)


def bench(
    kv: Annotated[
        bool, typer.Option("--kv", help="Cycles by position with the KV cache and without.")
    ] = False,
    pages: Annotated[
        bool,
        typer.Option(
            "--pages", help="Measure nothing: make README's tables and docs from docs/bench.json."
        ),
    ] = False,
    checkpoint: Annotated[
        str | None,
        typer.Option(help="--kv: a shipped checkpoint, or a file.", show_default="names"),
    ] = None,
    core: Annotated[Core | None, typer.Option(help="Core to measure.", show_default="both")] = None,
    lanes: Annotated[
        list[int] | None,
        typer.Option(help="Folded: widths to measure.", show_default="all; --kv: 16 and 64"),
    ] = None,
    names: Annotated[
        int | None,
        typer.Option(min=1, help="Comparison: names that each core generates.", show_default="200"),
    ] = None,
    engine: Annotated[str, typer.Option(help="auto, cxxrtl or pysim.")] = "auto",
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the figures to this file.")
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option(help="Comparison: write it to this file, too.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw them into this PNG file.")] = None,
) -> None:
    """Measure and compare all cores, programs on this machine, and published figures of peers.

    With --kv, measure the speedup by the KV cache in simulated hardware instead.
    """
    whole = not (kv or pages)
    if kv and pages:
        raise UserError("choose one of --kv (what the KV cache is worth) and --pages")
    if pages and any((checkpoint, core, lanes, names, json_file, markdown, plot)):
        raise UserError("--pages makes what is in the repository: leave the other options out")
    if not whole and (names or markdown):
        raise UserError("--names and --markdown belong to the comparison: leave them out")
    if whole and checkpoint:
        raise UserError(
            "the comparison is of the checkpoint names, which builds were made of: leave "
            "--checkpoint out"
        )
    refuse_options(core or Core.FOLDED, {Core.FOLDED: {"--lanes": lanes}})
    check_outputs(json_file, markdown, plot)

    from gptloom.model.files import write_file, write_json
    from gptloom.sim.cache_plot import check_extra
    from gptloom.sim.generation import MismatchError

    if plot or pages:
        check_extra()
    if pages:
        from gptloom.boards.pages import write_pages

        return write_pages()
    console = console_for(json_file, markdown, plot)
    try:
        if whole:
            return compare(core, lanes, names, engine, json_file, markdown, plot)
        result, draw = _kv(console, checkpoint or "names", core, lanes or _LANES, engine)
    except MismatchError as error:
        say("error", str(error))
        raise typer.Exit(1) from None
    if json_file:
        write_json(json_file, result)
        console.print(f"Wrote {json_file}.")
    if plot:
        write_file(plot, draw())
        console.print(f"Wrote {plot}.")


def _kv(console, checkpoint: str, core: Core | None, lanes, engine: str):
    """Measure the cache's speedup; return the figures and the function that draws them."""
    from gptloom.sim.cache_plot import draw_speedup
    from gptloom.sim.cache_speedup import mean_speedup

    measured: dict[str, list[PositionCycles]] = {}
    for name, rows in _measure(checkpoint, core, lanes, engine):
        measured[name] = rows
        console.print(_table(name, rows))
    cores = {
        name: {"speedup": mean_speedup(rows), "positions": [asdict(row) for row in rows]}
        for name, rows in measured.items()
    }
    return {"checkpoint": checkpoint, "cores": cores}, partial(draw_speedup, measured)


def _measure(
    checkpoint: str, core: Core | None, lanes, engine: str
) -> Iterator[tuple[str, list[PositionCycles]]]:
    """Yield the name of each core and its cycles by position."""
    from rich.console import Console

    from gptloom.firmware.machine import Machine
    from gptloom.hdl.unrolled.shape import Shape
    from gptloom.model.checkpoint import load_checkpoint
    from gptloom.model.merged.quantise import quantise as quantise_merged
    from gptloom.model.quantise import quantise
    from gptloom.sim.cache_speedup import folded_speedup, unrolled_speedup
    from gptloom.sim.engines import open_engine

    notices = Console(stderr=True, highlight=False)
    loaded = load_checkpoint(checkpoint)

    def measure(name: str, run, *arguments):
        with notices.status(name) as status:
            simulate = partial(open_engine, kind=engine, progress=status.update)
            return name, run(*arguments, simulate)

    merged = quantise_merged(loaded) if core is not Core.FOLDED else None
    if core is not Core.UNROLLED:
        model = quantise(loaded)
        for width in lanes:
            machine = Machine.for_model(width, model)
            yield measure(f"folded, {width} lanes", folded_speedup, model, machine)
    if merged:
        yield measure("unrolled, one stream", unrolled_speedup, merged, Shape().make(merged))


def _table(name: str, rows: list[PositionCycles]):
    from rich.table import Table

    from gptloom.sim.cache_speedup import mean_speedup

    table = Table("position", "KV cache", "computed anew", "times", title=f"cycles/token, {name}")
    for row in rows:
        ratio = row.uncached / row.cached
        table.add_row(str(row.position), str(row.cached), str(row.uncached), f"{ratio:.2f}")
    table.add_section()
    table.add_row("all", "", "", f"{mean_speedup(rows):.2f}", style="bold")
    for column in table.columns:
        column.justify = "right"
    return table
