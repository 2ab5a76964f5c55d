"""Displays that a board's header takes: the kinds, and the use of each pin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from amaranth.lib import wiring

from gptloom.hdl.display.graphic import GraphicDisplay
from gptloom.hdl.display.hd44780 import HD44780
from gptloom.hdl.display.ssd1306 import SSD1306
from gptloom.hdl.display.ssd1331 import SSD1331
from gptloom.hdl.display.st7789 import ST7789
from gptloom.model.errors import UserError


@dataclass(frozen=True)
class Display:
    """One kind of display.

    Attributes
    ----------
    title
        Description for people.
    pins
        Ports of its driver, on the header's pins in this order.
    make
        Makes its driver for a clock in Hz.
    """

    title: str
    pins: tuple[str, ...]
    make: Callable[[float], wiring.Component]


_SERIAL = ("sck", "mosi", "dc", "cs", "res")

DISPLAYS = {
    "hd44780": Display("16x2 characters, HD44780", ("rs", "e", "d"), HD44780),
    "ssd1306": Display("128x64 OLED, SSD1306", _SERIAL, lambda hz: GraphicDisplay(SSD1306, hz)),
    "ssd1331": Display("96x64 OLED, SSD1331", _SERIAL, lambda hz: GraphicDisplay(SSD1331, hz)),
    "st7789": Display("240x240 TFT, ST7789", _SERIAL, lambda hz: GraphicDisplay(ST7789, hz)),
}

NONE = "none"


def find_display(name: str) -> Display | None:
    """Return a kind of display by its name; None for ``none``.

    Raises
    ------
    UserError
        If there is none of that name.
    """
    if name != NONE and name not in DISPLAYS:
        known = ", ".join([NONE, *DISPLAYS])
        raise UserError(f"there is no display {name!r}: choose one of {known}")
    return DISPLAYS.get(name)
