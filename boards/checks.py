"""Check that a netlist keeps the design's memories, multipliers and registers.

Synthesis says nothing when a memory does not fit block RAM or a register never changes, so netlists
(yosys ``write_json``, top module, flattened) are compared: the design as it is (`before`), with
constants found while no register may disappear (`kept`), and mapped to cells (`mapped`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gptloom.boards.family import Family
from gptloom.model.errors import UserError

Netlist = Mapping[str, Any]

SCRIPT = """\
read_rtlil {name}.il
hierarchy -top {name}
proc
flatten
opt_clean
write_json {name}.before.json
setattr -set keep 1 t:$*dff* %co1:+[Q] t:* %d
opt
write_json {name}.kept.json
design -reset
"""
"""Yosys commands that write the first two netlists."""


@dataclass(frozen=True)
class Required:
    """Requirements on the netlist of a top.

    Attributes
    ----------
    memories
        Parts of the names of memories that must be in block RAM.
    constant
        Registers that are constant by the top's purpose, as patterns of their names.
    multipliers, count
        Pattern of the names of multiplier cells, and the number of these required.
    """

    memories: tuple[str, ...]
    constant: tuple[str, ...]
    multipliers: str
    count: int


def folded(lanes_in_cells: int, text: bool = False) -> Required:
    """Return the requirements of a folded core's top with this many lanes in multiplier cells."""
    return Required(
        memories=(
            ".operands.",
            ".issue_program.",
            ".result_program.",
            ".embedding.",
            ".recurrence.",
            ".console.memory",
            ".speller.memory",
            ".staging.memory",
            ".noise.table",
            ".exponents",
            ".gains",
            ".rotation.speeds",
        ),
        constant=(
            # Nobody loads an image: it is there from power-on.
            r"\.core\.(bos|last_token|last_position|last_beat|key_stride|value_stride)$",
            r"\.core\.(load|loaded.*|ninths|write_address|write_enable)(\$\d+)?$",
            r"\.(embedding|issue_program|result_program|recurrence\.table|exponents|gains|rotation)(\$\d+)?\.(\w+\.)?(write_\w+|port\$\d+)(\$\d+)?$",
            # Greedy decoding is not among the temperatures, because it makes one name only.
            r"\.core\.greedy$",
            # There is no prompt that could be too long for the context.
            r"\.control\.truncated$",
            # The core never waits for the line.
            r"counters\.stalls$",
            # Text does not pass the console.
            *([r"\.console\.sent_half$"] if text else []),
        ),
        multipliers=r"\.mac_array\.multiplier_",
        count=lanes_in_cells,
    )


def check_netlist(
    before: Netlist, kept: Netlist, mapped: Netlist, family: Family, required: Required
) -> None:
    """Refuse a netlist that lost a part of the design.

    Parameters
    ----------
    before, kept, mapped
        See the module.
    family
        Family of the part, for the names of its cells.
    required
        Requirements of the design.

    Raises
    ------
    UserError
        Naming the memory, multiplier or register.
    """
    wrong = [
        *_memories(before, mapped, family, required.memories),
        *_multipliers(mapped, family, required),
        *(
            f"the register {name} never changes"
            for name in constant_registers(before, kept, required.constant)
        ),
    ]
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise UserError(
            f"synthesis lost a part of the design, {wrong[0]}{more}, so no bitstream is made: "
            "try another version of yosys, or report this"
        )


def _cells(netlist: Netlist, beginnings: tuple[str, ...]) -> list[str]:
    cells = netlist["cells"].items()
    return [name for name, cell in cells if cell["type"].startswith(beginnings)]


def _memories(
    before: Netlist, mapped: Netlist, family: Family, in_blocks: tuple[str, ...]
) -> list[str]:
    blocks = _cells(mapped, family.memory_cells)
    flip_flops = _cells(mapped, family.flip_flop_cells)
    wrong = []
    for name, memory in before.get("memories", {}).items():
        expected = any(part in name for part in in_blocks)
        if not expected or any(cell.startswith(f"{name}.") for cell in blocks):
            continue
        bits = sum(cell.startswith(f"{name}[") for cell in flip_flops)
        where = f"became {bits:,} flip-flops" if bits else "is not in block RAM"
        wrong.append(f"the memory {name} ({memory['size']} x {memory['width']} bits) {where}")
    return wrong


def _multipliers(mapped: Netlist, family: Family, required: Required) -> list[str]:
    names = _cells(mapped, family.multiplier_cells)
    found = sum(bool(re.search(required.multipliers, name)) for name in names)
    if found == required.count:
        return []
    return [f"{found} of {required.count} multipliers are {family.multiplier_cells[0]} cells"]


def constant_registers(before: Netlist, kept: Netlist, meant: tuple[str, ...]) -> list[str]:
    """Return registers that keep their initial value forever, except those meant to.

    A constant bit is ordinary (a counter need not use all bits); a whole register is not.
    """
    driven: set[int | str] = set()
    for cell in before["cells"].values():
        if "dff" in cell["type"]:
            driven.update(cell["connections"]["Q"])
    names: dict[tuple, list[str]] = {}
    for name, net in before["netnames"].items():
        bits = net["bits"]
        constant = name in kept["netnames"] and not any(
            isinstance(bit, int) for bit in kept["netnames"][name]["bits"]
        )
        if constant and not net["hide_name"] and bits and driven.issuperset(bits):
            names.setdefault(tuple(bits), []).append(name)
    return sorted(
        min(aliases, key=len)
        for aliases in names.values()
        if not any(re.search(pattern, alias) for pattern in meant for alias in aliases)
    )
