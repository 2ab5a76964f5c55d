"""Another model in a placed design, and in a finished bitstream: no synthesis, no placement."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gptloom.boards.board import Board
from gptloom.boards.contents import columns, hex_lines, placeholder
from gptloom.boards.family import Family
from gptloom.boards.tools import Tools
from gptloom.firmware.image import Image, Region
from gptloom.firmware.machine import Machine
from gptloom.hdl.preload import Preload
from gptloom.model.errors import UserError
from gptloom.model.files import write_file


def patch(
    tools: Tools,
    family: Family,
    folder: Path,
    names: tuple[str, str],
    contents: tuple[Preload, Preload],
    machine: Machine,
) -> None:
    """Replace the contents of a placed design's memories.

    Parameters
    ----------
    tools
        Tools to run.
    family
        Family of the part.
    folder
        Folder of the files.
    names
        Names of the placed design, and of the one to write.
    contents
        Contents of the placed design (see :func:`.placeholder`), and those to replace them.
    machine
        The machine that they are for.

    Raises
    ------
    UserError
        If the placed design does not hold every bit of the first contents exactly once.
    """
    placed, patched = names
    depth = family.column
    before, after = (columns(preload, machine, depth) for preload in contents)
    (folder / "from.hex").write_text(hex_lines(before, depth))
    (folder / "to.hex").write_text(hex_lines(after, depth))
    name, *template = family.contents
    files = dict(placed=placed, patched=patched, before="from.hex", after="to.hex")
    pipes = {} if "{placed}" in template else dict(read=placed, write=patched)
    tools.run(name, [part.format_map(files) for part in template], folder, **pipes)
    # Neither tool reports a column that is missing, or there twice.
    old, new = (_memories(family, (folder / name).read_text()) for name in names)
    changed = sum((old[key] ^ new.get(key, 0)).bit_count() for key in old)
    expected = sum((a ^ b).bit_count() for a, b in zip(before, after, strict=True))
    if old.keys() != new.keys() or changed != expected:
        raise UserError(
            f"the memories could not be found in {placed} ({changed:,} bits of {expected:,} "
            "changed): build it anew with 'gptloom build'"
        )


def _section(family: Family) -> re.Pattern[str]:
    """Return the pattern of a block RAM's contents in a placed design: its place, and digits."""
    return re.compile(rf"^\.{family.contents_section} +(.*)\n((?:[0-9a-f ]+\n)+)", re.MULTILINE)


def _memories(family: Family, placed: str) -> dict[str, int]:
    """Return the contents of all block RAMs of a placed design as numbers."""
    sections = _section(family).findall(placed)
    return {place: int("".join(digits.split()), 16) for place, digits in sections}


def pack(tools: Tools, family: Family, folder: Path, placed: str, bitstream: str) -> None:
    """Make a bitstream of a placed design."""
    _convert(tools, family.pack, folder, placed, bitstream)


def _convert(
    tools: Tools, command: tuple[str, ...], folder: Path, placed: str, bitstream: str
) -> None:
    name, *template = command
    arguments = [part.format(placed=placed, bitstream=bitstream) for part in template]
    tools.run(name, arguments, folder)


def swap(board: Board, tools: Tools, bitstream: Path, image: Image, out: Path) -> None:
    """Write a finished bitstream with another model.

    Parameters
    ----------
    board
        The board.
    tools
        Tools to run.
    bitstream
        Bitstream in its build's folder, beside the placed design and the image it was built with.
    image
        The other model.
    out
        File to write; whole, or not at all.

    Raises
    ------
    UserError
        If the bitstream is of another build or board, or the image has other dimensions.
    """
    family = board.family
    build = bitstream.parent.resolve()
    placed = build / f"{build.name}.{family.placed}"
    built = build / f"{build.name}.img"
    if not placed.is_file() or not built.is_file():
        raise UserError(
            f"{bitstream} is not beside the placed design and the image of its build: give the one "
            f"in the folder where 'gptloom build --board {board.name}' made it"
        )
    inside = Image.read(built)
    check_same_shape(image, inside)
    machine = inside.machine
    with workplace(build) as folder:
        shutil.copy(placed, folder / "placed")
        shutil.copy(bitstream, folder / "given")
        _check_same_build(tools, family, folder, bitstream, placed)
        contents = placeholder(image, machine), Preload.of(image, machine)
        patch(tools, family, folder, ("placed", "patched"), contents, machine)
        pack(tools, family, folder, "patched", "packed")
        # Not moved: it may be on another disk.
        write_file(out, (folder / "packed").read_bytes())


def check_same_shape(image: Image, inside: Image) -> None:
    """Refuse an image whose dimensions differ from a build's.

    Raises
    ------
    UserError
        Naming both dimensions.
    """
    same = (image.lanes, image.config) == (inside.lanes, inside.config) and (
        image.regions[Region.SETTINGS] == inside.regions[Region.SETTINGS]
    )
    pages = [len(one.regions[Region.PAGE]) for one in (image, inside)]
    if same and pages[0] != pages[1]:
        raise UserError(
            f"the text of the image's tokens takes {pages[0]:,} bytes and the bitstream has room "
            f"for {pages[1]:,}: build a bitstream for it with 'gptloom build'"
        )
    if not same:

        def words(one: Image) -> str:
            c = one.config
            return (
                f"{one.lanes} lanes, {c.layers} layers, {c.width} wide, {c.heads} heads, "
                f"{c.hidden} hidden, context {c.context}, {c.vocabulary} tokens"
            )

        raise UserError(
            f"the image is for other hardware ({words(image)}) than the bitstream "
            f"({words(inside)}): build a bitstream for it with 'gptloom build'"
        )


def _check_same_build(
    tools: Tools, family: Family, folder: Path, bitstream: Path, placed: Path
) -> None:
    """Compare a bitstream, except memory contents, with the placed design beside it."""
    _convert(tools, family.pack, folder, "placed", "expected")
    for name in ("expected", "given"):
        try:
            _convert(tools, family.unpack, folder, f"{name}.text", name)
        except UserError as error:
            raise UserError(
                f"{bitstream} is not a bitstream of this board: give one that 'gptloom build' made"
            ) from error
    section = _section(family)
    logic = [
        section.sub("", (folder / f"{name}.text").read_text()) for name in ("expected", "given")
    ]
    if logic[0] != logic[1]:
        raise UserError(
            f"{bitstream} is not of the same build as {placed.name} beside it: give the "
            "bitstream of that build, or build it anew"
        )


@contextmanager
def workplace(folder: Path) -> Iterator[Path]:
    """Make a folder for intermediate files inside another one: tools see no other place."""
    with tempfile.TemporaryDirectory(dir=folder, prefix="work-") as name:
        yield Path(name)
