"""SSD1331: 96x64 dots in colour. Solomon Systech's datasheet, rev. 1.2: timing, commands."""

from gptloom.hdl.display.graphic import Panel
from gptloom.hdl.display.spi import SerialTiming

SSD1331 = Panel(
    name="SSD1331",
    height=64,
    bits=8,
    cell=6,
    widen=0,
    heighten=1,
    bands=(1, 3),
    reversed_bytes=False,
    ink=0xFF,
    paper=0x00,
    timing=SerialTiming(
        cycle={"tcycle": 150},
        low={"tCLKL": 75, "tAS": 40, "tCSS": 75, "tDSW": 40},
        high={"tCLKH": 75, "tAH": 40, "tCSH": 60, "tDHW": 40},
        deselected={},
    ),
    # The datasheet requires 3 us of reset; supplies take longer to settle.
    pause_ms=1,
    initial=(
        (0xAE,),  # off
        (0xA0, 0x33),  # 256 colours, column by column, as modules are mounted
        (0xAD, 0x8E),  # supply from outside
        (0xB1, 0x31),  # lengths of precharge
        (0xB3, 0xF0),  # clock: its highest frequency, not divided
        (0xBB, 0x3A),  # precharge level
        (0xBE, 0x3E),  # deselect level
        (0x87, 0x06),  # current
        (0x81, 0x91),  # contrast of the three colours
        (0x82, 0x50),
        (0x83, 0x7D),
        (0xA6,),  # all dots off
        (0xAF,),  # on
    ),
    frame=((0x15, 0, 95), (0x75, 0, 63)),
    hide=0xA6,
    show=0xA4,
    idle=0xE3,
    data_parameters=False,
)
"""Modules of 0.95 inch that make their own 13 V, or get it before the chip is configured."""
