"""Boards whose measured builds are recorded in the repository."""

from gptloom.boards.board import Board, Header, Pin
from gptloom.boards.loaders import ICEPROG, open_fpga_loader

FIRST_TIER = (
    *(
        Board(
            name=f"ulx3s-{size.lower()}",
            title=f"ULX3S {size}",
            platform=f"ulx3s:ULX3S_{size}_Platform",
            oscillator="clk25",
            loader=open_fpga_loader("--board", "ulx3s"),
            uart="uart",
            button=Pin("button_fire"),
            leds=(Pin("led", 0), Pin("led", 1)),
            display=Header("gpio", 0, rs="0+", e="0-", d="1+ 1- 2+ 2-"),
        )
        for size in ("12F", "25F", "45F", "85F")
    ),
    Board(
        name="icepi-zero",
        title="Icepi Zero v1.3",
        platform="icepi_zero:IcepiZero1_3Platform",
        oscillator="clk50",
        loader=open_fpga_loader("--board", "icepi-zero"),
        uart="uart",
        button=Pin("button"),
        leds=(Pin("led", 0), Pin("led", 1)),
        display=Header("gpio", 0, rs="25", e="24", d="23 17 18 22"),
    ),
    Board(
        name="icebreaker",
        title="iCEBreaker",
        platform="icebreaker:ICEBreakerPlatform",
        oscillator="clk12",
        loader=ICEPROG,
        uart="uart",
        button=Pin("button"),
        leds=(Pin("led", 0), Pin("led", 1)),
        display=Header("pmod", 0, rs="7", e="8", d="1 2 3 4"),
        shows="none",
        target_mhz=48.0,
        on_pad=True,
    ),
    Board(
        name="ice40-hx8k",
        title="iCE40-HX8K breakout (ICE40HX8K-B-EVN)",
        platform="ice40_hx8k_b_evn:ICE40HX8KBEVNPlatform",
        oscillator="clk12",
        loader=ICEPROG,
        uart="uart",
        button=None,
        leds=(Pin("led", 0), Pin("led", 1)),
        display=Header("j", 2, rs="4", e="5", d="9 10 11 12"),
        # 80 cannot be made from 12 MHz; this part has the slack for the next step above.
        target_mhz=81.0,
        note="no button on the board; the temperature stays as it is",
    ),
)
