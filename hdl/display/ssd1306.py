"""SSD1306: 128x64 white dots. Solomon Systech's datasheet, rev. 1.1: serial timing, commands."""

from gptloom.hdl.display.graphic import Panel
from gptloom.hdl.display.spi import SerialTiming

SSD1306 = Panel(
    name="SSD1306",
    height=64,
    bits=1,
    cell=8,
    widen=0,
    heighten=1,
    bands=(1, 3),
    reversed_bytes=True,
    ink=1,
    paper=0,
    timing=SerialTiming(
        cycle={"tcycle": 100},
        low={"tCLKL": 20, "tAS": 15, "tCSS": 20, "tDSW": 15},
        high={"tCLKH": 20, "tAH": 15, "tCSH": 10, "tDHW": 15},
        deselected={},
    ),
    # The datasheet requires 3 us of reset; supplies take longer to settle.
    pause_ms=1,
    initial=(
        (0xAE,),  # off
        (0xD5, 0x80),  # clock: its default frequency, not divided
        (0xA8, 63),  # rows
        (0xD3, 0),  # no offset
        (0x40,),  # first row of the memory on top
        (0x8D, 0x14),  # charge pump on
        (0x20, 1),  # addresses count down a column, then go to the next one
        (0xA1,),  # columns and rows as modules are mounted
        (0xC8,),
        (0xDA, 0x12),  # rows connected alternately
        (0x81, 0xCF),  # contrast
        (0xD9, 0xF1),  # precharge for the pump
        (0xDB, 0x40),  # deselect level
        (0xA4,),  # show the memory's contents
        (0xA6,),  # not inverted
    ),
    frame=((0x21, 0, 127), (0x22, 0, 7)),
    hide=0xAE,
    show=0xAF,
    idle=0xE3,
    data_parameters=False,
)
"""Modules of 0.96 inch with four-wire serial line; those of 128x32 dots need other settings."""
