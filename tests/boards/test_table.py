"""Every entry of the table, up to the input files of synthesis; no tool runs."""

import re

import pytest

from gptloom.boards.design import elaborate, make_top, multipliers
from gptloom.boards.table import BOARDS, find_board
from gptloom.firmware.image import build_image
from gptloom.firmware.machine import Machine
from gptloom.firmware.resources import inferred_multipliers
from gptloom.hdl.multipliers import FabricMultiplier
from gptloom.hdl.preload import Preload
from gptloom.hdl.uart import LEAST_DIVIDER, baud_divider
from gptloom.model.errors import UserError
from gptloom.model.formats import FINE
from verification.llama import GROUPED

FIRST = {
    "ulx3s-12f", "ulx3s-25f", "ulx3s-45f", "ulx3s-85f", "icepi-zero", "icebreaker", "ice40-hx8k",
}  # fmt: skip
SECOND = {
    "orangecrab-r0.2", "colorlight-5a-75b", "icesugar", "icesugar-pro", "ecpix5-45f", "ecpix5-85f",
    "upduino-v3",
}  # fmt: skip

LCD_PINS = 6
"""RS, E and four data lines."""


def parts(model):
    machine = Machine.for_models(8, model.config)
    image = build_image(model, machine)
    return image, machine, Preload.of(image, machine)


def test_the_table_is_complete():
    assert {board.name for board in BOARDS.values() if board.tier == 1} == FIRST
    assert {board.name for board in BOARDS.values() if board.tier == 2} == SECOND
    assert all(name == board.name for name, board in BOARDS.items())


@pytest.mark.parametrize(
    "name",
    [
        name
        if name == "ice40-hx8k"
        else pytest.param(
            name, marks=pytest.mark.long if name == "ulx3s-25f" else pytest.mark.nightly
        )
        for name in sorted(FIRST | SECOND)
    ],
)
def test_every_board_elaborates(name, model):
    board = BOARDS[name]
    sources = elaborate(board, *parts(model))
    mhz = board.pll().hz / 1e6
    if board.family.name == "ice40":
        pins = dict(re.findall(r"^set_io (\S+) (\S+)$", sources.constraints, re.MULTILINE))
        assert f"set_frequency domain.pll_clock {mhz}" in sources.constraints
        cell = "SB_PLL40_PAD" if board.on_pad else "SB_PLL40_CORE"
    else:
        pins = dict(re.findall(r'LOCATE COMP "(\S+)" SITE "(\S+)"', sources.constraints))
        assert f'FREQUENCY NET "domain.pll_clock" {mhz * 1e6} HZ' in sources.constraints
        cell = "EHXPLLL"
    assert rf"cell \{cell} \pll" in sources.rtlil
    # Yosys would take a wire with such a name for a bit of another wire.
    assert not re.search(r"\\\S*\[", sources.rtlil)
    # Clock, serial line, button, LEDs, and outputs kept inactive.
    expected = 3 + bool(board.button) + len(board.leds) + len(board.quiet)
    expected += LCD_PINS if board.shows == "hd44780" else 0
    assert len(pins) == len(set(pins.values())) == expected


@pytest.mark.parametrize("name", BOARDS)
@pytest.mark.parametrize("baud", [115_200, 1_000_000])
def test_every_clock_makes_the_usual_bauds(name, baud):
    board = BOARDS[name]
    divider = baud_divider(board.pll().hz, baud, LEAST_DIVIDER if board.framed else 1)
    assert board.pll().hz / divider == pytest.approx(baud, rel=0.02)


@pytest.mark.parametrize("name", BOARDS)
def test_the_displays_pins_are_free(name):
    board = BOARDS[name]
    platform = board.make_platform()
    display = platform.request("display", 0, dir="-")
    assert [len(display.rs), len(display.e), len(display.d)] == [1, 1, 4]

    def names(port):
        return {bit.name for bit in port.io.metadata}

    used = set()
    serial = platform.request(board.uart, dir="-")
    used |= names(serial.tx) | names(serial.rx)
    for pin in [board.button] if board.button else []:
        used |= names(pin.port(platform))
    assert not used & (names(display.rs) | names(display.e) | names(display.d))


@pytest.mark.parametrize("name", BOARDS)
def test_lanes_use_the_parts_multipliers_as_far_as_they_go(name, model):
    board = BOARDS[name]
    for lanes in (8, 64):
        kinds = multipliers(board, Machine.for_models(lanes, model.config))
        assert len(kinds) == lanes
        cells = sum(kind is not FabricMultiplier for kind in kinds)
        assert cells == min(lanes, board.family.multipliers_of[board.device])


@pytest.mark.parametrize(
    ("name", "cells"), [("ulx3s-25f", 8), ("ulx3s-45f", 52), ("ulx3s-85f", 64)]
)
def test_lanes_leave_multipliers_for_the_rest_of_a_gated_core(name, cells):
    """Of 28, 72 or 156, four each are for norm, gains and gates, and eight for rotation."""
    machine = Machine.for_models(64, GROUPED, precision=FINE)
    assert inferred_multipliers(machine) == 20
    kinds = multipliers(BOARDS[name], machine)
    assert sum(kind is not FabricMultiplier for kind in kinds) == cells


@pytest.mark.parametrize(
    ("name", "near"),
    [("ulx3s-25", "ulx3s-25f"), ("icebraker", "icebreaker"), ("icepi", "icepi-zero")],
)
def test_unknown_boards_are_answered_with_the_nearest(name, near):
    with pytest.raises(UserError, match=f"did you mean {near}\\?") as caught:
        find_board(name)
    assert all(board in str(caught.value) for board in BOARDS)


def test_nothing_near_lists_all():
    with pytest.raises(UserError) as caught:
        find_board("zzzz")
    assert "did you mean" not in str(caught.value)
    assert "icebreaker" in str(caught.value)


def test_case_does_not_matter():
    assert find_board("ULX3S-85F").name == "ulx3s-85f"


def test_another_clock_is_used_throughout(model):
    board = find_board("icebreaker")
    sources = elaborate(board, *parts(model), mhz=36)
    assert sources.pll.hz == 36e6
    assert "set_frequency domain.pll_clock 36.0" in sources.constraints


@pytest.mark.long
def test_commands_on_the_serial_line_are_for_parts_with_room(model):
    sources = elaborate(BOARDS["ulx3s-25f"], *parts(model), framed=True)
    assert "staging" in sources.rtlil
    with pytest.raises(UserError, match="without --framed"):
        elaborate(BOARDS["icebreaker"], *parts(model), framed=True)
    with pytest.raises(UserError, match="such as 115200"):
        elaborate(BOARDS["ulx3s-25f"], *parts(model), baud=30_000_000, framed=True)


def test_slots_need_prompts(model):
    machine = Machine.for_models(16, model.config, slots=1)
    with pytest.raises(UserError, match="leave --slots out"):
        make_top(BOARDS["ice40-hx8k"], build_image(model, machine), machine, Preload(), 12e6)


@pytest.mark.long
def test_attention_is_told_where_there_are_commands(model):
    board, part = BOARDS["ulx3s-25f"], "host.attention"
    assert part in elaborate(board, *parts(model), instruments=True).rtlil
    assert part not in elaborate(board, *parts(model)).rtlil
    for name, options in (("ulx3s-25f", {"framed": False}), ("icebreaker", {})):
        with pytest.raises(UserError, match="leave --instruments out"):
            elaborate(BOARDS[name], *parts(model), instruments=True, **options)
