"""Carries without effect are removed from a netlist, and no others."""

import copy

from gptloom.boards.carries import free_carries

DIRECTIONS = {
    **dict.fromkeys(["A0", "B0", "C0", "D0", "A1", "B1", "C1", "D1", "CIN"], "input"),
    **dict.fromkeys(["S0", "S1", "COUT"], "output"),
}


def cell(init, carry_in, s0, carry_out, a0="1"):
    connections = {pin: ["1"] for pin, way in DIRECTIONS.items() if way == "input"}
    connections |= {"A0": [a0], "CIN": [carry_in], "S0": [s0], "S1": [90], "COUT": [carry_out]}
    return {
        "type": "CCU2C",
        "parameters": {"INIT0": f"{init:016b}", "INIT1": "0" * 16},
        "port_directions": DIRECTIONS,
        "connections": connections,
    }


def module(**cells):
    flip_flop = {
        "type": "TRELLIS_FF",
        "port_directions": {"DI": "input", "Q": "output"},
        "connections": {"DI": [50], "Q": [51]},
    }
    port = {"direction": "output", "bits": [60]}
    return {"cells": {**cells, "ff": flip_flop}, "ports": {"o": port}}


def freed(**cells):
    netlist = module(**cells)
    before = copy.deepcopy(netlist)
    count = free_carries(netlist)
    found = {
        (name, port): bits[0]
        for name, c in netlist["cells"].items()
        for port, bits in c["connections"].items()
        if bits != before["cells"][name]["connections"][port]
    }
    assert len(found) == count
    assert set(found.values()) <= {"x"}
    return set(found)


def test_a_chain_loses_both_of_its_ends():
    chain = {"low": cell(8, "0", 10, 11), "high": cell(0x96AA, 11, 12, 13)}
    assert freed(**chain) == {("low", "CIN"), ("high", "COUT")}


def test_what_is_used_stays():
    assert freed(c=cell(0x96AA, "0", 10, 50)) == set()
    assert freed(c=cell(0x96AA, "0", 10, 60)) == set()
    # The lookup table is 0, so the sum is the carry in.
    assert freed(c=cell(8, "0", 50, 60)) == set()
    assert freed(c=cell(8, 70, 10, 60)) == set()
    assert freed(c=cell(8, "1", 10, 60)) == set()


def test_the_lookup_table_counts_as_it_is_connected():
    # The table is 1 for A = 0 only.
    assert freed(c=cell(0x4000, "0", 10, 60)) == {("c", "CIN")}
    assert freed(c=cell(0x4000, "0", 10, 60, a0="0")) == set()
    assert freed(c=cell(0x4000, "0", 10, 60, a0=30)) == set()


def test_other_cells_stay():
    netlist = module()
    before = copy.deepcopy(netlist)
    assert free_carries(netlist) == 0
    assert netlist == before
