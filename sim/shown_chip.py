"""A whole chip under simulation; a model of the panel decodes the pins of its display."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from amaranth.lib import wiring

from gptloom.firmware.image import Image
from gptloom.firmware.machine import Machine
from gptloom.hdl.display.two_lines import RATES, TICKS
from gptloom.hdl.folded.core import FoldedCore
from gptloom.hdl.preload import Preload
from gptloom.hdl.top import Top
from gptloom.sim.engines import Engine
from gptloom.sim.panels import (
    HD44780Model,
    PanelModel,
    Shown,
    SSD1306Model,
    SSD1331Model,
    ST7789Model,
    watch,
)

PANELS: dict[str, type[PanelModel]] = {
    "hd44780": HD44780Model,
    "ssd1306": SSD1306Model,
    "ssd1331": SSD1331Model,
    "st7789": ST7789Model,
}

PREFIX = "display__"
"""Prefix of the names of a display's pins among the top's ports."""

CHUNK = 1 << 16
"""Cycles from one check of the panel to the next."""


class ShownChip:
    """A chip that generates names or text, and the panel at its pins.

    Parameters
    ----------
    image, machine
        The model, held from power-on, and dimensions of the core.
    kind
        Kind of the panel, in `PANELS`.
    driver
        Its driver, for the same clock.
    clock_hz
        Clock frequency of the chip. The panel's times are real: a slower clock simulates faster.
    open_engine
        Opens a simulation.

    Attributes
    ----------
    engine
        The simulation.
    panel
        Panel that people see; it raises an error for every minimum time that is not kept.
    """

    def __init__(
        self,
        image: Image,
        machine: Machine,
        kind: str,
        driver: wiring.Component,
        clock_hz: float,
        open_engine: Callable[[Top], Engine],
    ):
        preload = Preload.of(image, machine)
        core = FoldedCore(machine, preload=preload)
        top = Top(
            core,
            preload.page,
            image.config,
            image.checked_sizes(machine),
            clock_hz=clock_hz,
            display=driver,
            # Eight names a second, or 40 tokens.
            rate=RATES.index(TICKS // 8),
            bos=image.bos,
        )
        self.engine = open_engine(top)
        self.panel = PANELS[kind](1 / clock_hz)

    def shown(self) -> Iterator[Shown]:
        """Yield the pictures shown, one by one, without end; dark ones are left out.

        Raises
        ------
        PanelError
            If the panel is not driven according to its datasheet.
        """
        number = 0
        while True:
            watch(self.engine, [(self.panel, PREFIX)], CHUNK, chunk=CHUNK)
            seen = self.panel.shown
            for picture in seen[number:]:
                if picture.lines:
                    yield picture
            number = len(seen)
