"""ST7789: 240x240 dots in colour. Sitronix's ST7789V datasheet, 1.3: timing, commands."""

from gptloom.hdl.display.graphic import Panel
from gptloom.hdl.display.spi import SerialTiming

ST7789 = Panel(
    name="ST7789",
    height=240,
    bits=16,
    cell=15,
    widen=1,
    heighten=2,
    bands=(3, 5),
    reversed_bytes=False,
    ink=0xFFFF,
    paper=0x0000,
    timing=SerialTiming(
        cycle={"TSCYCW": 66},
        low={"TSLW": 15, "TDCS": 10, "TCSS": 15, "TSDS": 10},
        high={"TSHW": 15, "TDCH": 10, "TCSH": 15, "TSDH": 10},
        deselected={"TCHW": 40},
    ),
    # 5 ms after leaving sleep, and 120 ms from a reset to that.
    pause_ms=8,
    initial=(
        (0x11,),  # out of sleep
        (0x3A, 0x55),  # 16 bits a dot
        (0x36, 0x20),  # column by column
        (0x21,),  # inverted, as these panels are built
        (0x2A, 0, 0, 0, 239),  # down a column
        (0x2B, 0, 0, 0, 239),  # columns
    ),
    frame=((0x2C,),),
    hide=0x28,
    show=0x29,
    idle=0x00,
    data_parameters=True,
)
"""Modules of 1.3 and 1.54 inch."""
