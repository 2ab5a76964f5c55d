"""`gptloom build`: a bitstream for a board, with its report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gptloom.cli.output import Progress, check_folders, say, show_figures
from gptloom.model.errors import UserError

if TYPE_CHECKING:
    from gptloom.boards.board import Board
    from gptloom.boards.report import Result, Timing
    from gptloom.boards.tools import Tools

MEASURED_NAMES = 200


def build(
    board: Annotated[str, typer.Option(help="Board, e.g. ulx3s-25f; 'list' shows all.")],
    lanes: Annotated[int, typer.Option(help="Multipliers: 8, 16, 32 or 64.")] = 16,
    checkpoint: Annotated[
        str, typer.Option(help="A shipped checkpoint's name or a file.")
    ] = "names",
    seeds: Annotated[int, typer.Option(help="Placements to try; the best is kept.")] = 1,
    seed: Annotated[int, typer.Option(help="Number of the first placement.")] = 1,
    clock: Annotated[
        float | None, typer.Option(help="MHz, if not the board's usual clock.")
    ] = None,
    baud: Annotated[int, typer.Option(help="Of the serial line.")] = 115200,
    framed: Annotated[
        bool | None,
        typer.Option(
            "--framed/--text",
            help="Take prompts and models on the serial line, or send names only.",
            show_default="framed on ECP5",
        ),
    ] = None,
    display: Annotated[
        str | None,
        typer.Option(
            help="hd44780, ssd1306, ssd1331, st7789 or none.", show_default="the board's own"
        ),
    ] = None,
    folder: Annotated[Path, typer.Option(help="Where builds go.")] = Path("build"),
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

    Cycles are counted in simulation of the same core; the clock is what place-and-route reaches.
    If the clock is not reached, no bitstream is left and the exit code is 1.
    """
    from rich.console import Console

    from gptloom.boards.build import Build, TimingError, best_of, check_timing
    from gptloom.boards.contents import placeholder
    from gptloom.boards.design import elaborate, multipliers
    from gptloom.boards.report import Result
    from gptloom.boards.table import find_board
    from gptloom.boards.tools import Tools
    from gptloom.firmware.image import build_image
    from gptloom.firmware.machine import Machine
    from gptloom.hdl.multipliers import FabricMultiplier
    from gptloom.model.checkpoint import load_checkpoint
    from gptloom.model.quantise import quantise

    console = Console(highlight=False)
    if board == "list":
        show_boards(console)
        return
    if seeds < 1 or seed < 1:
        raise UserError("placements are numbered from 1, and at least one is tried")
    check_folders(json_file)
    entry = find_board(board)
    progress = Progress()
    tools = Tools(native=native)
    with progress("quantising the checkpoint"):
        model = quantise(load_checkpoint(checkpoint))
    machine = Machine.for_models(lanes, model.config)
    task = Build(entry, folder / f"{entry.name}-folded-{lanes}", tools, progress)
    task.find_tools()
    image = build_image(model, machine)
    check_characters(model.tokenizer.characters)
    with progress("elaboration"):
        contents = placeholder(image, machine)
        sources = elaborate(
            entry, image, machine, contents, mhz=clock, baud=baud, framed=framed, display=display
        )
    task.begin()
    cells = sum(kind is not FabricMultiplier for kind in multipliers(entry, machine))
    flip_flops = task.synthesise(sources, cells)
    with progress(f"simulating {MEASURED_NAMES} names"):
        cycles = measure_cycles(model, machine)
    timings = task.place(range(seed, seed + seeds), sources.pll.hz / 1e6)
    best = best_of(timings)
    figures = describe(entry, lanes, best, cycles, tools, task.required_tools())
    command = f"gptloom build --board {entry.name} --lanes {lanes} --seed {best.seed}"
    command += f" --checkpoint {checkpoint}" if checkpoint != "names" else ""
    command += f" --clock {clock:g}" if clock else ""
    if framed is not None:
        command += " --framed" if framed else " --text"
    command += f" --display {display}" if display else ""
    figures |= {
        "ff": flip_flops,
        "integer_loss": model.metadata["integer_loss"],
        "weights_crc": f"{image.checksum(machine):08X}",
        "command": command,
    }
    result = Result(best, {t.seed: t.fmax_mhz for t in timings}, entry.family, figures)
    try:
        check_timing(best, lanes)
        bitstream = task.pack(best, image, machine)
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


def check_characters(characters: str) -> None:
    """Refuse what the serial line would show as question marks.

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


def measure_cycles(model, machine) -> float:
    """Return the mean cycles of a token, counted in simulation of whole documents.

    The same documents as ``gptloom generate --count 200`` has: every token equals the golden
    model's.
    """
    from gptloom.boards.estimate import SEED, TEMPERATURE
    from gptloom.firmware.image import build_image
    from gptloom.sim.engines import open_engine
    from gptloom.sim.generation import Generator, Request

    generator = Generator(model, machine, open_engine, build_image(model, machine))
    with generator.engine:
        generation = generator.run(Request(MEASURED_NAMES, TEMPERATURE, SEED))
    return generation.cycles_per_token


def describe(
    entry: Board, lanes: int, timing: Timing, cycles: float, tools: Tools, names: tuple[str, ...]
) -> dict:
    """Return the object that is recorded, but for flip-flops, loss and command."""
    from gptloom.model.arithmetic import WEIGHT_BITS

    family = entry.family
    versions = dict.fromkeys(tools.version(name) for name in names)
    return {
        "board": entry.name,
        "device": entry.part,
        "core": "folded",
        "lanes": lanes,
        "bits": WEIGHT_BITS,
        "fmax_mhz": round(timing.fmax_mhz, 2),
        "constraint_mhz": round(timing.constraint_mhz, 3),
        "met": timing.met,
        "lut": timing.count(family.logic),
        "dsp": timing.count(family.multipliers),
        "bram": timing.count(family.memories),
        "cycles_per_token": round(cycles, 2),
        "tokens_per_second": round(timing.constraint_mhz * 1e6 / cycles) if timing.met else None,
        "seed": timing.seed,
        "tools": ", ".join(versions),
    }


def write_report(folder: Path, result: Result, json_file: Path | None) -> None:
    """Write JSON and Markdown into the build's folder, and JSON where it was asked for."""
    from gptloom.model.checkpoint import write_atomically, write_json

    for file in (folder / "report.json", json_file):
        if file:
            write_json(file, result.as_dict())
    write_atomically(folder / "report.md", result.markdown().encode())


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
