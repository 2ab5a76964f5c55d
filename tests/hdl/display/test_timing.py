"""Times that drivers derive from their clock, and the tables of the documentation."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from gptloom.hdl.display.graphic import GraphicDisplay
from gptloom.hdl.display.hd44780 import HD44780
from gptloom.hdl.display.spi import Serialiser
from gptloom.hdl.display.ssd1306 import SSD1306

CLOCKS = [1e5, 1e6, 12e6, 25e6, 48e6, 50e6, 79.5e6, 80e6, 81e6, 100e6, 200e6]
NAMES = ("hd44780", "ssd1306", "ssd1331", "st7789")
TITLES = dict(hd44780="HD44780", ssd1306="SSD1306", ssd1331="SSD1331", st7789="ST7789")
DOCUMENT = Path(__file__).parents[3] / "docs" / "display.md"

# Displays of which only parameters are read are never elaborated.
pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")


@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize("name", NAMES)
def test_no_minimum_is_missed_at_any_clock(kit, name, clock):
    for minimum, (needed, actual) in kit.make_display(name, clock).timing().items():
        assert actual >= needed > 0, minimum


@pytest.mark.parametrize("name", NAMES)
def test_what_a_driver_says_of_its_times_is_what_the_panel_sees(displays, name):
    """The driver's table agrees with the pins; names are the same, except for the waits."""
    setup = displays(name, 12e6)
    setup.watch_until(lambda: setup.text is not None)
    table = setup.display.timing()
    seen = setup.panel.seen
    # A driver allows for characters that come late.
    common = (
        (set(table) & set(seen)) - {"tAS", "tDSW"} if name == "hd44780" else set(table) & set(seen)
    )
    assert len(common) >= 4
    for minimum in common:
        assert float(table[minimum][1]) == pytest.approx(seen[minimum], rel=1e-6), minimum


def shown(seconds):
    for unit, name in ((1, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns")):
        if seconds >= unit * 0.9999:
            return f"{float(seconds) / unit:.5g} {name}"
    raise AssertionError


def test_the_documented_times_are_the_drivers(kit):
    """On failure the message has the correct table."""
    table = ["| display | time | at least | at 80 MHz |", "|---|---|---:|---:|"]
    for name in NAMES:
        for minimum, times in kit.make_display(name, 80e6).timing().items():
            needed, actual = (shown(time) for time in times)
            table.append(f"| {TITLES[name]} | {minimum} | {needed} | {actual} |")
    assert "\n".join(table) in DOCUMENT.read_text(encoding="utf-8"), "\n".join(table)


def test_parameters_are_checked():
    with pytest.raises(ValueError, match="must be positive"):
        HD44780(0)
    with pytest.raises(ValueError, match="must be positive"):
        GraphicDisplay(SSD1306, -1)
    with pytest.raises(ValueError, match="at least 1 cycle"):
        Serialiser(0)
    with pytest.raises(ValueError, match="SSD1306 are 1 bytes too long"):
        GraphicDisplay(replace(SSD1306, initial=(*SSD1306.initial, (0xE3,))), 80e6)


def test_half_a_bit_is_rounded_up():
    assert SSD1306.timing.half(Fraction(80_000_000)) == 4
    assert SSD1306.timing.half(Fraction(80_000_001)) == 5
