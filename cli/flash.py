"""`gptloom flash`: a bitstream onto a board."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from gptloom.model.errors import UserError


def flash(
    board: Annotated[str, typer.Option(help="Board, e.g. ulx3s-25f.")],
    bitstream: Annotated[
        Path | None, typer.Argument(help="The file; the latest build or swap for the board.")
    ] = None,
    sram: Annotated[bool, typer.Option("--sram", help="Until power-off.")] = False,
    flash: Annotated[bool, typer.Option("--flash", help="For good.")] = False,
    folder: Annotated[Path, typer.Option(help="Folder of the builds.")] = Path("build"),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would run, and run nothing.")
    ] = False,
) -> None:
    """Put a bitstream on a board that is plugged in."""
    from rich.console import Console

    from gptloom.boards.bitstreams import check_bitstream, find_bitstream, identify
    from gptloom.boards.flash import flash_command, run_flash
    from gptloom.boards.table import find_board

    if sram and flash:
        raise UserError("a bitstream goes either to --sram or to --flash: choose one")
    entry = find_board(board)
    if bitstream:
        check_bitstream(entry, bitstream)
        chosen = identify(entry, bitstream, folder)
    else:
        chosen = find_bitstream(entry, folder)
        check_bitstream(entry, chosen.file)
    memory = "sram" if sram else "flash" if flash else None
    command = flash_command(entry, chosen.file, memory)
    doing = "would flash" if dry_run else "flashing"
    notices = Console(stderr=True, highlight=False, markup=False)
    notices.print(f"{doing} {chosen}", soft_wrap=True)
    print(shlex.join(command), flush=True)
    if not dry_run:
        run_flash(entry, command)
