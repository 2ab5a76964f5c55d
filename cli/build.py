"""`gptloom build`: a bitstream for a board, with its report."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gptloom.cli.cores import (
    Bits,
    BitsPerCycle,
    CachePolicy,
    Core,
    HeadsPerCycle,
    KeyBits,
    PositionsPerCycle,
    Profile,
    Rows,
    Sinks,
    Slots,
    Streams,
    ValueBits,
    cache_options,
    lanes_of,
    load_merged,
    load_plain,
    refuse_options,
    shape_options,
)
from gptloom.cli.output import Progress, check_outputs, console_for, say, show_figures
from gptloom.model.errors import UserError

if TYPE_CHECKING:
    from gptloom.boards.report import Result


def build(
    board: Annotated[str, typer.Option(help="Board, e.g. ulx3s-25f; 'list' shows all.")],
    core: Annotated[Core, typer.Option(help="Core to build.")] = Core.FOLDED,
    lanes: Annotated[
        int | None,
        typer.Option(
            help="Folded: multipliers, 8, 16, 32, 64 or 128.", show_default="16; Llama family: 64"
        ),
    ] = None,
    bits_per_cycle: BitsPerCycle = None,
    positions_per_cycle: PositionsPerCycle = None,
    heads_per_cycle: HeadsPerCycle = None,
    streams: Streams = None,
    cache: CachePolicy = None,
    rows: Rows = None,
    sinks: Sinks = None,
    slots: Slots = 0,
    bits: Bits = None,
    key_bits: KeyBits = None,
    value_bits: ValueBits = None,
    profile: Profile = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            help="A shipped checkpoint's name or a file.",
            show_default="names; unrolled: what the part holds",
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Placements to try; the best is kept.")] = 1,
    seed: Annotated[int, typer.Option(help="Number of the first placement.")] = 1,
    clock: Annotated[
        float | None, typer.Option(help="MHz, if not the board's usual clock.")
    ] = None,
    baud: Annotated[
        int | None,
        typer.Option(help="Baud rate of the serial line.", show_default="115200; text: 1000000"),
    ] = None,
    framed: Annotated[
        bool | None,
        typer.Option(
            "--framed/--text",
            help="Take prompts and models on the serial line, or send names only.",
            show_default="framed on ECP5, but for the unrolled core",
        ),
    ] = None,
    instruments: Annotated[
        bool,
        typer.Option(
            "--instruments",
            help="Tell gptloom attend what tokens attend, and talk what happens in the KV cache.",
        ),
    ] = False,
    display: Annotated[
        str | None,
        typer.Option(
            help="hd44780, ssd1306, ssd1331, st7789 or none.", show_default="the board's own"
        ),
    ] = None,
    folder: Annotated[Path, typer.Option(help="Folder of the builds.")] = Path("build"),
    native: Annotated[
        bool, typer.Option("--native", help="Use yosys and nextpnr from the PATH.")
    ] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the report to this file as well.")
    ] = None,
    record: Annotated[
        bool, typer.Option("--record", help="Add the result to the repository's table.")
    ] = False,
) -> None:
    """Make a board's bitstream, and report its clock, size and tokens/s.

    Cycles are counted in simulation of the same core; place-and-route determines the clock.
    If the clock is not reached, no bitstream is left and the exit code is 1.
    """
    from gptloom.boards.build import Build, TimingError, check_timing
    from gptloom.boards.designs import Settings, folded_design, unrolled_design
    from gptloom.boards.routed import place_and_route
    from gptloom.boards.table import find_board
    from gptloom.boards.tools import Tools
    from gptloom.boards.unrolled import choice_for

    console = console_for(json_file)
    if board == "list":
        show_boards(console)
        return
    if seeds < 1 or seed < 1:
        raise UserError("placements are numbered from 1, and at least one is tried")
    shape = shape_options(core, bits_per_cycle, positions_per_cycle, heads_per_cycle, streams)
    policy = cache_options(cache, rows, sinks)
    if record and (policy or slots or instruments):
        raise UserError(
            "the record is of caches as they are by default, and of builds without --instruments: "
            "leave --record out"
        )
    widths = {"--bits": bits, "--key-bits": key_bits, "--value-bits": value_bits}
    refuse_options(
        core,
        {
            Core.FOLDED: {"--lanes": lanes, "--slots": slots or None, "--profile": profile},
            Core.UNROLLED: widths,
        },
    )
    check_outputs(json_file)
    entry = find_board(board)
    progress = Progress()
    started = time.monotonic()
    tools = Tools(native=native)
    with progress("quantising the checkpoint"):
        if core is Core.FOLDED:
            model = load_plain(checkpoint or "names", policy, profile)
            chosen = lanes_of(model, lanes)
            design = folded_design(entry, checkpoint or "names", model, chosen, slots)
        else:
            usual = choice_for(entry)
            name = checkpoint or usual.checkpoint
            model = load_merged(name, bits, key_bits, value_bits, policy)
            design = unrolled_design(entry, name, model, replace(usual.shape, **shape))
    task = Build(
        entry,
        folder / f"{entry.name}-{design.name}",
        tools,
        progress,
        frees_carries=design.frees_carries,
    )
    settings = Settings(clock, baud, framed, instruments, display)
    result = place_and_route(task, design, settings, range(seed, seed + seeds))
    best = result.timing
    command = f"gptloom build --board {entry.name}{design.options} --seed {best.seed}"
    command += f" --clock {clock:g}" if clock else ""
    if framed is not None:
        command += " --framed" if framed else " --text"
    command += " --instruments" if instruments else ""
    command += f" --display {display}" if display else ""
    wall = round(time.monotonic() - started)
    figures = {**result.figures, "command": command, "wall_seconds": wall}
    result = replace(result, figures=figures)
    try:
        check_timing(best, design.smaller)
        bitstream = design.pack(task, best)
    except TimingError as error:
        write_report(task.folder, result, json_file)
        show_figures(console, result.rows())
        say("error", str(error))
        raise typer.Exit(1) from None
    finally:
        task.discard()
    write_report(task.folder, result, json_file)
    show_figures(console, result.rows())
    console.print(f"\n{bitstream} ({bitstream.stat().st_size:,} bytes)", soft_wrap=True)
    if record:
        from gptloom.boards.results import record as add

        add(figures)


def write_report(folder: Path, result: Result, json_file: Path | None) -> None:
    """Write JSON and Markdown into the build's folder, and JSON to the file asked for."""
    from gptloom.boards.bitstreams import REPORT
    from gptloom.model.files import write_file, write_json

    for file in (folder / REPORT, json_file):
        if file:
            write_json(file, result.as_dict())
    write_file(folder / "report.md", result.markdown().encode())


def show_boards(console) -> None:
    """Print the table of boards."""
    from rich.table import Table

    from gptloom.boards.table import BOARDS

    table = Table(box=None, pad_edge=False)
    for heading in ("board", "part", "clock MHz"):
        table.add_column(heading, no_wrap=True)
    for heading in ("name", "note"):
        table.add_column(heading)
    for entry in BOARDS.values():
        clock = f"{entry.pll().hz / 1e6:g}"
        table.add_row(entry.name, entry.part, clock, entry.title, entry.note)
    console.print(table)
