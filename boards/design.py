"""A board's whole design: the top connected to its pins, as files for synthesis."""

from __future__ import annotations

import re
from dataclasses import dataclass

from amaranth.build import Platform
from amaranth.hdl import ClockDomain, Elaboratable, Module
from amaranth.lib import io

from gptloom.boards.board import Board
from gptloom.boards.displays import find_display
from gptloom.boards.domain import PllDomain
from gptloom.boards.family import Pll
from gptloom.firmware.image import Image
from gptloom.firmware.machine import Machine
from gptloom.firmware.page import TEMPERATURES, is_text
from gptloom.firmware.resources import inferred_multipliers
from gptloom.hdl.folded.core import FoldedCore
from gptloom.hdl.multipliers import (
    FabricMultiplier,
    Multiplier,
)
from gptloom.hdl.preload import Preload
from gptloom.hdl.serial.host import Upload
from gptloom.hdl.top import BAUD, Top
from gptloom.hdl.uart import LEAST_DIVIDER, baud_divider
from gptloom.model.errors import UserError

NAME = "top"
"""Name of the design, and of the files that synthesis reads and writes."""


class BoardTop(Elaboratable):
    """Connects a top to the pins and the oscillator of a board.

    Parameters
    ----------
    board
        Its entry in the table.
    pll
        Settings of the PLL.
    top
        Top whose ports are connected to the pins.
    """

    def __init__(self, board: Board, pll: Pll, top: Top):
        self._board, self._pll, self._top = board, pll, top

    def elaborate(self, platform: Platform) -> Module:
        """Request the pins."""
        m = Module()
        board, top = self._board, self._top
        m.domains.sync = ClockDomain()
        m.submodules.domain = PllDomain(board.oscillator, self._pll, on_pad=board.on_pad)
        m.submodules.top = top

        serial = platform.request(board.uart, dir="-")
        m.submodules.tx = tx = io.Buffer("o", serial.tx)
        m.submodules.rx = rx = io.Buffer("i", serial.rx)
        m.d.comb += [tx.o.eq(top.tx), top.rx.eq(rx.i)]
        if board.button:
            m.submodules.button = button = io.Buffer("i", board.button.port(platform))
            m.d.comb += top.button.eq(button.i)
        lights = (top.running, top.error)
        # Several lights may be parts of one resource, which can be requested once only.
        requested: dict[tuple[str, int], object] = {}
        for number, (pin, light) in enumerate(zip(board.leds, lights, strict=False)):
            key = pin.resource, pin.number
            if key not in requested:
                requested[key] = platform.request(*key, dir="-")
            port = getattr(requested[key], pin.part) if pin.part else requested[key]
            m.submodules[f"led_{number}"] = led = io.Buffer("o", port)
            m.d.comb += led.o.eq(light)
        if hasattr(top, "display"):
            header = platform.request("display", dir="-")
            for name in top.display.signature.members:
                m.submodules[f"display_{name}"] = pin = io.Buffer("o", getattr(header, name))
                m.d.comb += pin.o.eq(getattr(top.display, name))
        for number, pin in enumerate(board.quiet):
            m.submodules[f"quiet_{number}"] = quiet = io.Buffer("o", pin.port(platform))
            m.d.comb += quiet.o.eq(0)
        return m


def multipliers(board: Board, machine: Machine) -> list[type[Multiplier]]:
    """Choose every lane's multiplier: the part's own as far as the rest of the core leaves any."""
    family = board.family
    own = family.multipliers_of[board.device] - inferred_multipliers(machine)
    count = min(machine.lanes, max(0, own))
    return [family.multiplier] * count + [FabricMultiplier] * (machine.lanes - count)


@dataclass(frozen=True)
class Sources:
    """Input files of synthesis and place-and-route.

    Attributes
    ----------
    rtlil
        The design.
    constraints
        Pins and clocks, in the family's format.
    pll
        PLL setting that makes the clock.
    """

    rtlil: str
    constraints: str
    pll: Pll


_NAME = re.compile(r"\\\S*\[\S*")


def unambiguous(rtlil: str) -> str:
    """Write fields of arrays as ``name.0`` and not as ``name[0]``.

    Yosys (abc9) gives a wire's bits such names and takes an array's field for one of them, which
    connects signals that do not belong together.
    """
    return _NAME.sub(lambda name: name[0].replace("[", ".").replace("]", ""), rtlil)


def elaborate(
    board: Board,
    image: Image,
    machine: Machine,
    preload: Preload,
    *,
    mhz: float | None = None,
    baud: int = BAUD,
    framed: bool | None = None,
    instruments: bool = False,
    display: str | None = None,
) -> Sources:
    """Elaborate the whole design for a board; no tool is run.

    Parameters
    ----------
    board
        Its entry in the table.
    image
        The model that the design is for; its dimensions matter, not its weights.
    machine
        Dimensions of the core.
    preload
        Contents of the memories from power-on: the image's, or a placeholder.
    mhz
        Clock frequency, if not the entry's own.
    baud
        Baud rate of the serial line.
    framed
        Whether the serial line takes commands and uploads, see :class:`.Host`; by default where
        there is room for it.
    instruments
        Whether the chip reports what tokens attend to, if it takes commands.
    display
        Name in :data:`.DISPLAYS` or ``none``, if not the entry's own.

    Raises
    ------
    UserError
        If the PLL or the serial line cannot be made, the part is too small for commands,
        `instruments` is set without them, or the extra is missing.
    """
    pll = board.pll(mhz)
    options = dict(framed=framed, instruments=instruments, display=display)
    top = make_top(board, image, machine, preload, pll.hz, baud, **options)
    return connect(board, pll, top, display)


def connect(board: Board, pll: Pll, top: Top, display: str | None = None) -> Sources:
    """Elaborate a top on a board; see :func:`elaborate`."""
    shown = find_display(board.shows if display is None else display)
    plan = board.make_platform(shown.pins if shown else ()).prepare(BoardTop(board, pll, top), NAME)
    rtlil = unambiguous(plan.files[f"{NAME}.il"])
    return Sources(rtlil, plan.files[f"{NAME}.{board.family.constraints}"], pll)


def make_top(
    board: Board,
    image: Image,
    machine: Machine,
    preload: Preload,
    clock_hz: float,
    baud: int = BAUD,
    *,
    framed: bool | None = None,
    instruments: bool = False,
    display: str | None = None,
) -> Top:
    """Return the part of a board's design that does not depend on its pins.

    Parameters and errors are those of :func:`elaborate`; `clock_hz` is the frequency of the PLL.
    """
    if framed is None:
        framed = board.framed and not image.config.endless and not is_text(preload.page)
    if framed and not board.framed:
        raise UserError(
            f"{board.name} has no room for commands on the serial line: build it without --framed, "
            "and use 'gptloom swap' for another model"
        )
    if machine.slots and not framed:
        raise UserError(
            "slots keep what prompts begin with, and the serial line takes none: leave --slots out"
        )
    if instruments and not framed:
        raise UserError(
            "what tokens attend is asked for by a command, and the serial line takes none: leave "
            "--instruments out"
        )
    shown = find_display(board.shows if display is None else display)
    # Before any hardware is made, because amaranth warns about hardware that is not used.
    baud_divider(clock_hz, baud, LEAST_DIVIDER if framed else 1)
    return Top(
        FoldedCore(machine, multipliers(board, machine), preload),
        preload.page,
        image.config,
        image.checked_sizes(machine),
        clock_hz=clock_hz,
        baud=baud,
        temperatures=len(TEMPERATURES) if board.button else 1,
        upload=Upload.of(image, machine) if framed else None,
        instruments=instruments,
        display=shown.make(clock_hz) if shown else None,
        bos=image.bos,
    )
