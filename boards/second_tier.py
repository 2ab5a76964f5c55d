"""Boards that builds are made for, but not measured in the repository."""

from gptloom.boards.board import Board, Header, Pin, Wires
from gptloom.boards.loaders import DFU, ICEPROG_FLASH_ONLY, ICESPROG, open_fpga_loader

SECOND_TIER = (
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
