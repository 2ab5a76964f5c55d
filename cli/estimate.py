"""`gptloom estimate`: the estimate of a build, in seconds and without synthesis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    Streams,
    ValueBits,
    cache_options,
    load_merged,
    load_plain,
    refuse_options,
    shape_options,
)
from gptloom.cli.output import Progress, check_outputs, console_for, show_figures
from gptloom.model.errors import UserError

if TYPE_CHECKING:
    from gptloom.boards.board import Board
    from gptloom.boards.estimate import Estimate, Needs
    from gptloom.hdl.unrolled.shape import Shape
    from gptloom.model.merged.integer import MergedModel


def estimate(
    board: Annotated[str | None, typer.Option(help="Board, e.g. ulx3s-25f.")] = None,
    core: Annotated[Core, typer.Option(help="Core to estimate.")] = Core.FOLDED,
    lanes: Annotated[
        int | None,
        typer.Option(
            help="Folded: multipliers, 8, 16, 32, 64 or 128.", show_default="the most that fit"
        ),
    ] = None,
    bits_per_cycle: BitsPerCycle = None,
    positions_per_cycle: PositionsPerCycle = None,
    heads_per_cycle: HeadsPerCycle = None,
    streams: Streams = None,
    cache: CachePolicy = None,
    rows: Rows = None,
    sinks: Sinks = None,
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
    clock: Annotated[
        float | None, typer.Option(help="MHz, if not the board's usual clock.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the figures to this file as well.")
    ] = None,
    calibrate: Annotated[
        bool,
        typer.Option("--calibrate", help="Fit the estimate anew, on designs made by the tools."),
    ] = False,
    folder: Annotated[Path, typer.Option(help="Folder for the designs of --calibrate.")] = Path(
        "build/calibration"
    ),
    native: Annotated[
        bool, typer.Option("--native", help="--calibrate with the tools from the PATH.")
    ] = False,
) -> None:
    """Estimate a build's size and speed on a board, and for folded cores the boards that hold it.

    Multipliers, block RAM and cycles/token are exact; LUT and FF come from a model fitted on
    synthesised designs. Only a build shows whether the clock is reached.
    """
    from gptloom.boards.calibration import load_calibration
    from gptloom.boards.designs import text_figures
    from gptloom.boards.estimate import Estimator
    from gptloom.boards.table import BOARDS, find_board
    from gptloom.boards.unrolled import choice_for
    from gptloom.firmware.page import writes_text
    from gptloom.model.files import write_json

    console = console_for(json_file)
    if calibrate:
        _calibrate(console, folder, native)
        return
    if board is None:
        raise UserError(f"name a board, --board NAME: the boards are {', '.join(BOARDS)}")
    shape = shape_options(core, bits_per_cycle, positions_per_cycle, heads_per_cycle, streams)
    policy = cache_options(cache, rows, sinks)
    widths = {"--bits": bits, "--key-bits": key_bits, "--value-bits": value_bits}
    refuse_options(
        core, {Core.FOLDED: {"--lanes": lanes, "--profile": profile}, Core.UNROLLED: widths}
    )
    check_outputs(json_file)
    entry = find_board(board)
    if core is Core.UNROLLED:
        usual = choice_for(entry)
        name = checkpoint or usual.checkpoint
        model = load_merged(name, bits, key_bits, value_bits, policy)
        _unrolled(console, entry, name, model, replace(usual.shape, **shape), clock, json_file)
        return
    checkpoint = checkpoint or "names"
    model = load_plain(checkpoint, policy, profile)
    estimator = Estimator(model, load_calibration().sizes)
    chosen = estimator.choose(entry, lanes, clock)
    everywhere = estimator.everywhere(chosen.lanes)
    text = text_figures(checkpoint, model) if writes_text(model) else {}
    _show(console, chosen, everywhere, text, wanted=lanes is not None)
    if json_file:
        figures = {
            **chosen.as_dict(),
            **text,
            "checkpoint": checkpoint,
            "integer_loss": model.metadata["integer_loss"],
            "boards": [other.as_dict() for other in everywhere],
        }
        write_json(json_file, figures)


def _unrolled(
    console,
    entry: Board,
    checkpoint: str,
    model: MergedModel,
    shape: Shape,
    clock: float | None,
    json_file: Path | None,
) -> None:
    from gptloom.boards.estimate import RESOURCES
    from gptloom.boards.report import describe_core
    from gptloom.boards.unrolled_estimate import estimate_unrolled
    from gptloom.model.files import write_json

    with Progress()("planning"):
        chosen = estimate_unrolled(entry, model, shape, clock)
    figures = chosen.as_dict()
    show_figures(
        console,
        {
            **_rows(chosen, describe_core(figures)),
            "tokens/s, all streams": f"{chosen.aggregate_tokens_per_second:,}",
        },
    )
    if json_file:
        loss = model.metadata["integer_loss"]
        write_json(json_file, {**figures, "checkpoint": checkpoint, "integer_loss": loss})
    if not chosen.fits:
        lacking = " and ".join(RESOURCES[name] for name in chosen.lacking)
        raise UserError(
            f"{entry.name} has too few {lacking}: choose fewer --positions-per-cycle, "
            "--bits-per-cycle or --heads-per-cycle, a checkpoint of fewer bits, or a larger board"
        )


def _rows(chosen: Needs, core: str) -> dict[str, str]:
    """Return the rows of a table."""
    from gptloom.boards.estimate import RESOURCES
    from gptloom.boards.report import bar

    rows = {"board": f"{chosen.board.name} ({chosen.board.part})", "core": core}
    for name, title in RESOURCES.items():
        used, available = chosen.used[name], chosen.available[name]
        if available:
            rows[title] = f"{bar(used / available)} {used:,} of {available:,}"
    rows["cycles/token"] = f"{chosen.cycles_per_token:.1f}"
    rows["tokens/s"] = f"{chosen.tokens_per_second:,} at {chosen.clock_hz / 1e6:g} MHz"
    return rows


def _show(
    console,
    chosen: Estimate,
    everywhere: list[Estimate],
    text: Mapping[str, Any],
    *,
    wanted: bool,
) -> None:
    from rich.table import Table

    from gptloom.boards.estimate import RESOURCES

    why = "" if wanted else ", the most that fit"
    rows = _rows(chosen, f"folded, {chosen.lanes} lanes{why}")
    if text:
        rows["text"] = f"{text['checkpoint']}, profile {text['profile']}, {text['rows']} rows"
        rows["KL to the float model"] = f"{text['kl']:.4f} nats"
    show_figures(console, rows)
    console.print(f"\n{chosen.lanes} lanes on all boards:\n")
    table = Table(box=None, pad_edge=False)
    table.add_column("board", no_wrap=True)
    for title in (*RESOURCES.values(), "tokens/s"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("fits", no_wrap=True)
    for other in everywhere:
        shares = (_share(other.used[name], other.available[name]) for name in RESOURCES)
        lacking = " and ".join(RESOURCES[name] for name in other.lacking)
        table.add_row(
            other.board.name,
            *shares,
            f"{other.tokens_per_second:,}",
            "yes" if other.fits else f"[red]no, {lacking}[/]",
        )
    console.print(table)


def _share(used: int, available: int) -> str:
    """Return the percentage of a part's resource; empty if the part has none."""
    return f"{used / available:.0%}" if available else ""


def _calibrate(console, folder: Path, native: bool) -> None:
    from rich.table import Table

    from gptloom.boards.calibration import CALIBRATION, calibrate, compare
    from gptloom.boards.tools import Tools

    calibration = calibrate(folder, Tools(native=native), Progress())
    table = Table(box=None, pad_edge=False)
    for title in ("board", "lanes", "model"):
        table.add_column(title)
    for title in ("LUT", "estimated", "", "FF", "estimated", ""):
        table.add_column(title, justify="right")
    for design, size in compare(calibration):
        cells = []
        for figure in ("lut", "ff"):
            made = getattr(design, figure)
            cells += [f"{made:,}", f"{size[figure]:,}", f"{size[figure] / made - 1:+.1%}"]
        table.add_row(design.board, str(design.lanes), str(design.model), *cells)
    console.print(table)
    console.print(f"\n{CALIBRATION}", soft_wrap=True)
