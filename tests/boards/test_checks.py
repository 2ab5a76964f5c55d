"""Checks that reject a netlist."""

import pytest

from gptloom.boards.checks import check_netlist, constant_registers, folded
from gptloom.boards.families import FAMILIES
from gptloom.model.errors import UserError

MEANT = folded(0).constant
MEMORY = "top.core.operands.unit_0"


def netlist(cells=(), nets=(), memories=()):
    return {
        "cells": {name: {"type": kind, "connections": {"Q": q}} for name, kind, q in cells},
        "netnames": {name: {"bits": bits, "hide_name": 0} for name, bits in nets},
        "memories": {name: {"size": 512, "width": 32} for name in memories},
    }


REGISTERS = [("$1", "$sdff", [2, 3]), ("$2", "$dff", [4])]
NETS = [("top.core.count", [2, 3]), ("top.core.flag", [4]), ("top.core.wire", [9])]
BEFORE = netlist(REGISTERS, NETS, [MEMORY])


def mapped(memory="SB_RAM40_4K", multiplier="SB_MAC16"):
    cells = [(f"{MEMORY}.0.0", memory, [])] if memory else []
    cells += [(f"top.core.mac_array.multiplier_0_{i}.dsp", multiplier, []) for i in range(4)]
    return netlist(cells)


def check(kept=BEFORE, after=None, lanes=4):
    check_netlist(BEFORE, kept, after or mapped(), FAMILIES["ice40"], folded(lanes))


def test_a_good_netlist_passes():
    check()


def test_memories_outside_block_ram_fail():
    with pytest.raises(UserError, match=f"memory {MEMORY} .512 x 32 bits. is not in block RAM"):
        check(after=mapped(memory=""))


def test_memories_that_became_flip_flops_fail():
    after = mapped(memory="")
    flip_flops = [(f"{MEMORY}[{i}]_SB_DFFE_Q", "SB_DFFE", []) for i in range(1000)]
    after["cells"] |= netlist(flip_flops)["cells"]
    with pytest.raises(UserError, match="became 1,000 flip-flops"):
        check(after=after)


def test_lanes_without_their_cells_fail():
    with pytest.raises(UserError, match="0 of 4 multipliers are SB_MAC16"):
        check(after=mapped(multiplier="SB_LUT4"))


def test_constant_registers_fail():
    kept = netlist(REGISTERS, [("top.core.count", ["0", "1"]), ("top.core.flag", [4])])
    with pytest.raises(UserError, match=r"register top\.core\.count never changes"):
        check(kept)


def test_constant_bits_and_intended_constants_pass():
    kept = netlist(REGISTERS, [("top.core.count", ["0", 3]), ("top.core.flag", [4])])
    check(kept)
    before = netlist([("$1", "$dff", [2])], [("top.core.bos", [2]), ("alias", [2])])
    assert (
        constant_registers(before, netlist([], [("top.core.bos", ["1"]), ("alias", ["1"])]), MEANT)
        == []
    )


def test_several_losses_are_counted():
    kept = netlist(REGISTERS, [("top.core.count", ["0", "1"]), ("top.core.flag", ["x"])])
    with pytest.raises(UserError, match=r"\(and 2 more\)"):
        check(kept, mapped(memory=""))
