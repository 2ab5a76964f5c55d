"""Putting a bitstream on a board."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from gptloom.boards.board import Board
from gptloom.model.errors import UserError


def find_bitstream(board: Board, folder: Path) -> Path:
    """Return the latest bitstream that was built for a board.

    Raises
    ------
    UserError
        If there is none.
    """
    ending = board.family.bitstream
    found = [
        file
        for file in folder.glob(f"{board.name}-*/*.{ending}")
        if file.stem == file.parent.name and _board_of(file) in (None, board.name)
    ]
    if not found:
        raise UserError(
            f"there is no bitstream for {board.name} in {folder}: make one with "
            f"'gptloom build --board {board.name}', or name the file"
        )
    return max(found, key=lambda file: file.stat().st_mtime)


def check_bitstream(board: Board, file: Path) -> None:
    """Refuse what is no bitstream of a board, as far as its name and its report tell.

    Raises
    ------
    UserError
        If the file is missing, empty, of another family, or of another board's build.
    """
    if not file.is_file() or not file.stat().st_size:
        raise UserError(f"{file} is not a bitstream: make one with 'gptloom build'")
    ending = f".{board.family.bitstream}"
    if file.suffix != ending:
        raise UserError(f"{file} is not a bitstream for {board.name}, whose files end in {ending}")
    other = _board_of(file)
    if other not in (None, board.name):
        raise UserError(
            f"{file} was built for {other}: give --board {other}, or a bitstream of {board.name}"
        )


def _board_of(file: Path) -> str | None:
    """Return the board that the report beside a bitstream names."""
    try:
        return json.loads((file.parent / "report.json").read_text()).get("board")
    except (OSError, ValueError):
        return None


def flash_command(board: Board, file: Path, memory: str | None) -> list[str]:
    """Return the command that loads a bitstream.

    Parameters
    ----------
    board
        Its entry in the table.
    file
        The bitstream.
    memory
        ``sram`` (lost at power-off), ``flash``, or None for what the board does best: the first
        where it can.

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
    """Load a bitstream; the tool's own messages are shown.

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
