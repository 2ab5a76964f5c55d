"""A whole chip under simulation that is reached only through its serial pins."""

from __future__ import annotations

from collections.abc import Callable

from gptloom.firmware.image import Image
from gptloom.firmware.machine import Machine
from gptloom.hdl.folded.core import FoldedCore
from gptloom.hdl.preload import Preload
from gptloom.hdl.serial.host import Upload
from gptloom.hdl.top import Top
from gptloom.sim.engines import Engine
from gptloom.sim.serial_port import SimulatedPort

CLOCK_HZ = 80e6
DIVIDER = 8
"""Clock cycles per bit: a fast line, because cycles cost simulation time."""


def serial_top(image: Image, machine: Machine, core=None, *, instruments: bool = True) -> Top:
    """Return a top with the full serial console that holds an image from power-on.

    Parameters
    ----------
    image
        The model.
    machine
        Dimensions of the core.
    core
        Component with :class:`.CoreSignature` to use instead of the folded core.
    instruments
        See :class:`.Top`.
    """
    preload = Preload.of(image, machine)
    return Top(
        core or FoldedCore(machine, preload=preload),
        preload.page,
        image.config,
        image.checked_sizes(machine),
        clock_hz=CLOCK_HZ,
        baud=round(CLOCK_HZ / DIVIDER),
        upload=Upload.of(image, machine),
        instruments=instruments,
    )


def open_port(
    image: Image, machine: Machine, open_engine: Callable[[Top], Engine]
) -> SimulatedPort:
    """Open a chip's simulation and return the far end of its serial line."""
    return SimulatedPort(open_engine(serial_top(image, machine)), DIVIDER, CLOCK_HZ)
