"""``gptloom bench``: measurements in simulation, to compare."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gptloom.cli.cores import Core, refuse_options
from gptloom.cli.output import check_folders, say
from gptloom.model.errors import UserError

if TYPE_CHECKING:
    from gptloom.sim.cache_speedup import PositionCycles

_LANES = (16, 64)


def bench(
    kv: Annotated[
        bool, typer.Option("--kv", help="Cycles by position with the KV cache and without.")
    ] = False,
    checkpoint: Annotated[str, typer.Option(help="A shipped checkpoint, or a file.")] = "names",
    core: Annotated[Core | None, typer.Option(help="Which core; both.")] = None,
    lanes: Annotated[
        list[int] | None, typer.Option(help="Folded: widths to measure; 16 and 64.")
    ] = None,
    engine: Annotated[str, typer.Option(help="auto, cxxrtl or pysim.")] = "auto",
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the figures to this file.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw them into this PNG file.")] = None,
) -> None:
    """Measure simulated hardware. What to measure is an option: --kv."""
    if not kv:
        raise UserError("say what to measure: --kv (what the KV cache is worth)")
    refuse_options(core or Core.FOLDED, {Core.FOLDED: {"--lanes": lanes}})
    check_folders(json_file, plot)

    from rich.console import Console

    from gptloom.model.checkpoint import write_atomically, write_json
    from gptloom.sim.cache_plot import check_extra, draw
    from gptloom.sim.cache_speedup import mean_speedup
    from gptloom.sim.generation import MismatchError

    if plot:
        check_extra()
    console = Console(highlight=False)
    measured: dict[str, list[PositionCycles]] = {}
    try:
        for name, rows in _measure(checkpoint, core, lanes or _LANES, engine):
            measured[name] = rows
            console.print(_table(name, rows))
    except MismatchError as error:
        say("error", str(error))
        raise typer.Exit(1) from None
    if json_file:
        cores = {
            name: {"speedup": mean_speedup(rows), "positions": [asdict(row) for row in rows]}
            for name, rows in measured.items()
        }
        write_json(json_file, {"checkpoint": checkpoint, "cores": cores})
        console.print(f"Wrote {json_file}.")
    if plot:
        write_atomically(plot, draw(measured))
        console.print(f"Wrote {plot}.")


def _measure(
    checkpoint: str, core: Core | None, lanes, engine: str
) -> Iterator[tuple[str, list[PositionCycles]]]:
    """Yield the name of each core and what it takes."""
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

    if core is not Core.UNROLLED:
        model = quantise(loaded)
        for width in lanes:
            machine = Machine.for_models(width, model.config)
            yield measure(f"folded, {width} lanes", folded_speedup, model, machine)
    if core is not Core.FOLDED:
        merged = quantise_merged(loaded)
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
