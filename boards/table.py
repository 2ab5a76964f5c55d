"""The board table, and finding an entry by name."""

from difflib import get_close_matches

from gptloom.boards.board import Board, Header, Pin, Wires
from gptloom.boards.loaders import (
    DFU,
    ICEPROG,
    ICEPROG_FLASH_ONLY,
    ICESPROG,
    open_fpga_loader,
)
from gptloom.model.errors import UserError

_ENTRIES = (
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
    Board(
        name="orangecrab-r0.2",
        title="OrangeCrab r0.2 (25F)",
        platform="orangecrab_r0_2:OrangeCrabR0_2_25FPlatform",
        oscillator="clk",
        loader=DFU,
        uart="serial",
        button=Pin("button"),
        leds=(Pin("rgb_led", part="g"),),
        display=Header("io", 0, rs="11", e="12", d="5 6 9 10"),
        extra=(
            Wires("serial", outputs=(("tx", "1"),), inputs=(("rx", "0"),), connector=("io", 0)),
        ),
        tier=2,
        note="the serial line is on the header's pins 1 (TX) and 0 (RX)",
    ),
    Board(
        name="colorlight-5a-75b",
        title="Colorlight 5A-75B (v7.0)",
        platform="colorlight_5a75b_r7_0:Colorlight_5A75B_R70Platform",
        oscillator="clk25",
        loader=open_fpga_loader("--cable", "ft232"),
        uart="uart",
        button=None,
        leds=(),
        display=Header("j", 1, rs="6", e="7", d="1 2 3 5"),
        tier=2,
        note="the serial line takes the pins of the only LED and button (connector J19)",
    ),
    Board(
        name="icesugar",
        title="iCESugar",
        platform="icesugar:ICESugarPlatform",
        oscillator="clk12",
        loader=ICESPROG,
        uart="uart",
        button=Pin("switch"),
        leds=(Pin("led", 0), Pin("led", 1)),
        display=Header("pmod", 1, rs="7", e="8", d="1 2 3 4"),
        shows="none",
        target_mhz=48.0,
        on_pad=True,
        tier=2,
        note="a switch takes the button's place: every time it is set, the temperature steps",
    ),
    Board(
        name="icesugar-pro",
        title="iCESugar-pro",
        platform="icesugar_pro:ICESugarProPlatform",
        oscillator="clk25",
        loader=ICESPROG,
        uart="uart",
        button=None,
        leds=(Pin("rgb_led", part="g"), Pin("rgb_led", part="b")),
        display=Header("sodimm", 0, rs="49", e="51", d="57 59 61 63"),
        tier=2,
        note="no button on the board; the temperature stays as it is",
    ),
    *(
        Board(
            name=f"ecpix5-{size}f",
            title=f"ECPIX-5 {size}F",
            platform=f"ecpix5:ECPIX5{size}Platform",
            oscillator="clk100",
            loader=open_fpga_loader("--board", "ecpix5"),
            uart="uart",
            button=None,
            leds=(Pin("rgb_led", 0, "g"), Pin("rgb_led", 1, "g")),
            display=Header("pmod", 0, rs="7", e="8", d="1 2 3 4"),
            tier=2,
            note="no button on the board; the temperature stays as it is",
        )
        for size in (45, 85)
    ),
    Board(
        name="upduino-v3",
        title="UPduino v3",
        platform="upduino_v3:UpduinoV3Platform",
        oscillator="clk12",
        loader=ICEPROG_FLASH_ONLY,
        uart="serial",
        button=None,
        leds=(Pin("rgb_led", part="g"), Pin("rgb_led", part="b")),
        display=Header("j", 0, rs="13", e="14", d="7 8 9 10"),
        shows="none",
        target_mhz=48.0,
        # The USB serial line shares pins with the flash memory, which must not be selected.
        extra=(
            Wires("serial", outputs=(("tx", "14"),), inputs=(("rx", "15"),)),
            Wires("memory_select", outputs=(("-", "!16"),)),
        ),
        quiet=(Pin("memory_select"),),
        tier=2,
        note="close the jumper OSC, which puts the 12 MHz oscillator on pin 20",
    ),
)

BOARDS = {board.name: board for board in _ENTRIES}


def find_board(name: str) -> Board:
    """Return a board's entry.

    Raises
    ------
    UserError
        If there is none, naming the nearest and all boards.
    """
    board = BOARDS.get(name.lower())
    if board is None:
        near = get_close_matches(name.lower(), BOARDS, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UserError(f"there is no board {name!r}: {hint}The boards are {', '.join(BOARDS)}")
    return board
