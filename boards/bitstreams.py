"""Bitstreams available for a board: from the latest build, or swapped to another model since."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from gptloom.boards.board import Board
from gptloom.model.errors import UserError
from gptloom.model.files import write_json

REPORT = "report.json"
"""Report of a build, in its folder."""

SWAPPED = "swapped.json"
"""List of bitstreams made from a build for other models, in its folder, the latest one last."""


@dataclass(frozen=True)
class Bitstream:
    """A file to flash, and what is known of it.

    Attributes
    ----------
    file
        The bitstream.
    origin
        How it was made and what is in it, in words.
    """

    file: Path
    origin: str

    @property
    def time(self) -> float:
        """Seconds since the epoch at which the file was written."""
        return self.file.stat().st_mtime

    def __str__(self) -> str:
        written = datetime.fromtimestamp(self.time)
        return f"{self.file}, {self.origin}, {written:%Y-%m-%d %H:%M:%S}"


def find_bitstream(board: Board, folder: Path) -> Bitstream:
    """Return the latest bitstream that was made for a board, by a build or by a swap.

    Raises
    ------
    UserError
        If there is none, or two builds have equal times.
    """
    builds = [build for build in folder.glob(f"{board.name}-*") if _is_of(board, build)]
    found = [latest[-1] for build in builds if (latest := _bitstreams(board, build))]
    if not found:
        raise UserError(
            f"there is no bitstream for {board.name} in {folder}: make one with "
            f"'gptloom build --board {board.name}', or name the file"
        )
    time = max(bitstream.time for bitstream in found)
    newest = [bitstream for bitstream in found if bitstream.time == time]
    if len(newest) > 1:
        files = " and ".join(sorted(str(bitstream.file) for bitstream in newest))
        raise UserError(f"{files} are equally new: name the file to flash")
    return newest[0]


def identify(board: Board, file: Path, folder: Path) -> Bitstream:
    """Return what is known of a file, from the folder of builds and from the file's own folder."""
    for build in (file.parent, *folder.glob(f"{board.name}-*")):
        for bitstream in _bitstreams(board, build):
            if bitstream.file.resolve() == file.resolve():
                return Bitstream(file, bitstream.origin)
    return Bitstream(file, "of unknown origin")


def check_bitstream(board: Board, file: Path) -> None:
    """Refuse a file that is not a board's bitstream, as far as its name and its report tell.

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
    if not _is_of(board, file.parent):
        other = _read(file.parent / REPORT)["board"]
        raise UserError(
            f"{file} was built for {other}: give --board {other}, or a bitstream of {board.name}"
        )


def record_swap(build: Path, file: Path, image: Path, weights_crc: int) -> None:
    """Record in a build's folder which bitstream was made from it for another model.

    Parameters
    ----------
    build
        The folder.
    file
        The bitstream, in any folder.
    image
        The file of the other model's image.
    weights_crc
        Checksum of the weights that a chip holding the bitstream reports.
    """
    build, file = build.resolve(), file.resolve()
    # A relative name, so that a folder can be moved with its contents.
    name = file.relative_to(build) if file.is_relative_to(build) else file
    entry = {
        "file": str(name),
        "image": str(image),
        "weights_crc": f"{weights_crc:08X}",
        "bitstream_crc": _crc(file),
    }
    others = [swap for swap in _swaps(build) if swap["file"] != entry["file"]]
    write_json(build / SWAPPED, {"swaps": [*others, entry]})


def _bitstreams(board: Board, build: Path) -> list[Bitstream]:
    """Return the bitstreams that a build's folder records: the build's own, then swapped ones."""
    found = {}
    built = build / f"{build.name}.{board.family.bitstream}"
    if built.is_file():
        report = _read(build / REPORT)
        command, crc = report.get("command"), report.get("weights_crc")
        found[built] = "built" + (f" by '{command}'" if command else "")
        found[built] += f" (weights {crc})" if crc else ""
    for swap in _swaps(build):
        file = build / swap["file"]
        # A file rewritten since is not the swapped bitstream.
        if file.is_file() and _crc(file) == swap["bitstream_crc"]:
            # A swapped bitstream written over the build's own replaces it.
            found.pop(file, None)
            found[file] = f"swapped to {swap['image']} (weights {swap['weights_crc']})"
    return [Bitstream(file, origin) for file, origin in found.items()]


def _swaps(build: Path) -> list[dict[str, str]]:
    return _read(build / SWAPPED).get("swaps", [])


def _is_of(board: Board, build: Path) -> bool:
    """Tell whether a folder is of this board's build, or of none that names a board."""
    return _read(build / REPORT).get("board") in (None, board.name)


def _read(file: Path) -> dict[str, Any]:
    """Return a JSON object; an empty one if the file is missing or holds none."""
    try:
        value = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _crc(file: Path) -> str:
    return f"{zlib.crc32(file.read_bytes()):08X}"
