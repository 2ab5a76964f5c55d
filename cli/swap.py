"""`gptloom swap`: another model in a finished bitstream, without synthesis."""

import time
from pathlib import Path
from typing import Annotated

import typer

from gptloom.cli.output import check_outputs, console_for


def swap(
    bitstream: Annotated[Path, typer.Argument(help="Made by 'gptloom build', in its folder.")],
    board: Annotated[str, typer.Option(help="Board that it is for.")],
    image: Annotated[Path, typer.Option(help="The other model, made by 'gptloom image'.")],
    out: Annotated[
        Path | None, typer.Option(help="File to write; beside the bitstream by default.")
    ] = None,
    native: Annotated[bool, typer.Option("--native", help="Use the tools from the PATH.")] = False,
) -> None:
    """Put another model of the same dimensions into a bitstream, in seconds.

    Only contents of block RAM change: the result is the same as from a build of that model.
    """
    from gptloom.boards import patch
    from gptloom.boards.bitstreams import check_bitstream, record_swap
    from gptloom.boards.table import find_board
    from gptloom.boards.tools import Tools
    from gptloom.firmware.image import Image
    from gptloom.model.files import is_plain

    entry = find_board(board)
    model = Image.read(image)
    check_bitstream(entry, bitstream)
    target = out or bitstream.with_stem(f"{bitstream.stem}-{image.stem}")
    check_outputs(target)
    begun = time.monotonic()
    patch.swap(entry, Tools(native=native), bitstream, model, target)
    crc = model.checksum(model.machine)
    if is_plain(target):
        record_swap(bitstream.parent, target, image, crc)
    console_for(target).print(
        f"{target} (weights {crc:08X}, {time.monotonic() - begun:.1f} s)", soft_wrap=True
    )
