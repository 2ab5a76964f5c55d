"""Removal of the ECP5 cells that only lead a carry into or out of a carry chain.

Nextpnr puts two lookup tables before a chain whose carry in is connected, and two behind one whose
carry out is, without asking whether they are needed. Synthesis (abc9) always connects both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_OPEN = "x"


def free_carries(module: Mapping[str, Any]) -> int:
    """Disconnect the carries of a netlist that have no effect, and return how many there are.

    Parameters
    ----------
    module
        Module in the JSON that yosys writes; it is changed in place.
    """
    cells = module["cells"].values()
    users: set[int | str] = set()
    for cell in cells:
        directions = cell["port_directions"]
        users |= {
            bit
            for port, bits in cell["connections"].items()
            if directions[port] != "output"
            for bit in bits
        }
    users |= {
        bit
        for port in module["ports"].values()
        if port["direction"] != "input"
        for bit in port["bits"]
    }
    freed = 0
    for cell in cells:
        if cell["type"] != "CCU2C":
            continue
        connections = cell["connections"]
        if "COUT" in connections and users.isdisjoint(connections["COUT"]):
            connections["COUT"] = [_OPEN]
            freed += 1
        # The sum of the first half would be the carry in, which is then undefined.
        unused = users.isdisjoint(connections.get("S0", []))
        if connections.get("CIN") == ["0"] and unused and _ignores_carry(cell):
            connections["CIN"] = [_OPEN]
            freed += 1
    return freed


def _ignores_carry(cell: Mapping[str, Any]) -> bool:
    """Whether a cell's first half ignores the carry in: its lookup table is 0 as connected."""
    init = int(cell["parameters"]["INIT0"], 2)
    # Inputs that are not constant may have either value.
    indices = [0]
    for place, pin in enumerate("ABCD"):
        bit = cell["connections"][f"{pin}0"][0]
        values = [int(bit)] if bit in ("0", "1") else [0, 1]
        indices = [index | value << place for index in indices for value in values]
    return not any(init >> index & 1 for index in indices)
