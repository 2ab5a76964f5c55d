"""Putting a bitstream on a board."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from gptloom.boards.board import Board
from gptloom.model.errors import UserError


def flash_command(board: Board, file: Path, memory: str | None) -> list[str]:
    """Return the command that loads a bitstream.

    Parameters
    ----------
    board
        Its entry in the table.
    file
        The bitstream.
    memory
        ``sram`` (lost at power-off), ``flash``, or None for the board's preferred one: ``sram`` if
        it can be loaded.

    Raises
    ------
    UserError
        If the board cannot be loaded that way.
    """
    loader = board.loader
    ways = {"sram": loader.sram, "flash": loader.flash}
    memory = memory or ("sram" if loader.sram is not None else "flash")
    arguments = ways[memory]
    if arguments is None:
        other = "flash" if memory == "sram" else "sram"
        raise UserError(
            f"{loader.tool} cannot write the {memory} of {board.name}: choose --{other}"
        )
    return [loader.tool, *arguments, str(file)]


def run_flash(board: Board, command: list[str]) -> None:
    """Load a bitstream, showing the tool's own messages.

    Raises
    ------
    UserError
        If the tool is missing or fails, or no board is plugged in.
    """
    loader = board.loader
    if shutil.which(loader.tool) is None:
        raise UserError(f"{loader.tool} is not on the PATH: {loader.install}")
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    said = []
    for line in process.stdout:
        print(line, end="", flush=True)
        said.append(line)
    if process.wait():
        text = "".join(said).lower()
        if any(part in text for part in loader.absent):
            raise UserError(
                f"{loader.tool} found no {board.title}: plug it in, and see 'gptloom doctor' for "
                "the right to use it"
            )
        last = said[-1].strip().rstrip(".") if said else "it said nothing"
        raise UserError(
            f"{loader.tool} failed with code {process.returncode} ({last}): check the cable, or "
            "see what it does with --dry-run"
        )
