"""Options of subcommands that use a serial line, and the opening of such a line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gptloom.model.errors import UserError

if TYPE_CHECKING:
    from gptloom.boards.conversation import Conversation
    from gptloom.boards.link import Port
    from gptloom.firmware.image import Image

SIMULATED = "sim"

PortName = Annotated[
    str, typer.Option("--port", help="Serial port, e.g. /dev/ttyUSB0; or sim, a simulated chip.")
]
Baud = Annotated[int, typer.Option(help="Baud rate of the serial line, as the bitstream has it.")]


def checkpoint_image(checkpoint: str, lanes: int | None, slots: int = 0) -> Image:
    """Return the image of a checkpoint for this many lanes, or the usual ones, and slots."""
    from gptloom.cli.cores import load_plain, machine_of
    from gptloom.firmware.image import build_image

    model = load_plain(checkpoint, {})
    return build_image(model, machine_of(model, lanes, slots))


def possible_images(image: Path | None, checkpoint: str) -> Iterator[Image]:
    """Yield images that a chip may hold: a file's, or a checkpoint's for all lanes and slots."""
    from gptloom.cli.cores import load_plain
    from gptloom.firmware.image import Image, build_image
    from gptloom.firmware.machine import LANES, SLOTS, Machine

    if image:
        yield Image.read(image)
    else:
        model, refused = load_plain(checkpoint, {}), None
        for slots, lanes in product(SLOTS, LANES):
            try:
                machine = Machine.for_model(lanes, model, slots=slots)
                image_of = build_image(model, machine)
            except UserError as error:
                # Too large for a core of this width: the chip has another width.
                refused = error
                continue
            refused = None
            yield image_of
        if refused:
            raise refused


@contextmanager
def open_line(name: str, baud: int, held: Image) -> Iterator[Port]:
    """Open a port.

    Parameters
    ----------
    name
        See ``PortName``.
    baud
        Baud rate of a real port.
    held
        Image that a simulated chip holds.
    """
    if name != SIMULATED:
        from gptloom.boards.serial_port import SerialPort

        with closing(SerialPort(name, baud)) as port:
            yield port
        return
    from rich.console import Console

    from gptloom.sim.engines import open_engine
    from gptloom.sim.serial_chip import open_port

    machine = held.machine
    with Console(stderr=True, highlight=False).status("Building the simulation") as status:
        port = open_port(held, machine, lambda top: open_engine(top, progress=status.update))
    with closing(port):
        yield port


@contextmanager
def open_conversation(
    name: str, baud: int, image: Path | None, checkpoint: str, lanes: int, slots: int = 0
) -> Iterator[Conversation]:
    """Open a port, and report which chip is there.

    Parameters
    ----------
    name, baud
        See :func:`open_line`.
    image, checkpoint
        Image or checkpoint that the chip may hold.
    lanes, slots
        Dimensions of a simulated chip that holds the checkpoint.
    """
    from gptloom.boards.conversation import Conversation, held_image
    from gptloom.boards.link import Link
    from gptloom.firmware.image import Image

    held = Image.read(image) if image else checkpoint_image(checkpoint, lanes, slots)
    with open_line(name, baud, held) as line:
        link = Link(line)
        identity = link.identify()
        found = held_image(identity.weights, possible_images(image, checkpoint))
        print(
            f"{found.lanes} lanes, weights {identity.weights:08X}, config {identity.config:08X}",
            file=sys.stderr,
        )
        yield Conversation(link, found)
