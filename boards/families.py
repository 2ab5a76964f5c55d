"""The two families of parts: how their tools are called and what their cells are named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from amaranth.build import Resource

    from gptloom.boards.board import Wires


@dataclass(frozen=True)
class Family:
    """One family.

    Attributes
    ----------
    name
        ``ice40`` or ``ecp5``.
    synthesis
        The yosys command, without ``-top``.
    synthesis_options
        Further options by part, e.g. to use its multipliers.
    place
        The nextpnr tool.
    devices, packages
        Its options for a part, and its names of packages.
    constraints, placed, bitstream
        Endings of the files for pins and clocks, of the placed design, and of the bitstream.
    pack
        The tool that makes a bitstream, and its arguments; ``{placed}`` and ``{bitstream}`` are
        the files.
    unpack
        The tool that undoes it, and its arguments; ``{bitstream}`` and ``{placed}``.
    column
        Words of a block RAM's column, as the tool that replaces contents counts them.
    attributes
        Of an ordinary 3.3 V pin.
    logic, multipliers, memories
        Names of what the report counts, as nextpnr has them. An iCE40's logic cell is a lookup
        table with a flip-flop.
    memory_cells, multiplier_cells, flip_flop_cells
        Beginnings of the netlist's cell types.
    multipliers_of, logic_of, memories_of
        Multiplier cells, logic cells (of an ECP5: lookup tables; each has a flip-flop) and block
        RAMs by part.
    """

    name: str
    synthesis: str
    synthesis_options: Mapping[str, str]
    place: str
    devices: Mapping[str, str]
    packages: Mapping[str, str]
    constraints: str
    placed: str
    bitstream: str
    pack: tuple[str, ...]
    unpack: tuple[str, ...]
    column: int
    attributes: Mapping[str, str]
    logic: str
    multipliers: str
    memories: str
    memory_cells: tuple[str, ...]
    multiplier_cells: tuple[str, ...]
    flip_flop_cells: tuple[str, ...]
    multipliers_of: Mapping[str, int]
    logic_of: Mapping[str, int]
    memories_of: Mapping[str, int]

    def resource(self, wires: Wires) -> Resource:
        """Make the platform's resource of an entry's wires."""
        from amaranth.build import Attrs, Pins, Resource, Subsignal

        def pins(names: str, direction: str) -> Pins:
            bare = names.removeprefix("!")
            return Pins(bare, dir=direction, invert=bare != names, conn=wires.connector)

        parts = [(name, pins(n, "o")) for name, n in wires.outputs]
        parts += [(name, pins(n, "i")) for name, n in wires.inputs]
        ios = [p if name == "-" else Subsignal(name, p) for name, p in parts]
        return Resource(wires.name, 0, *ios, Attrs(**self.attributes))


_ECP5_SIZES = {"12F": "12k", "25F": "25k", "45F": "45k", "85F": "85k"}
_ECP5_KINDS = {"LFE5U": "", "LFE5UM": "um-", "LFE5UM5G": "um5g-"}


def _ecp5(*counts: int) -> dict[str, int]:
    """By part, from those of 25F, 45F and 85F; a 12F is the same die as a 25F."""
    sizes = dict(zip(_ECP5_SIZES, (counts[0], *counts), strict=True))
    return {f"{kind}-{size}": count for kind in _ECP5_KINDS for size, count in sizes.items()}


FAMILIES = {
    "ice40": Family(
        name="ice40",
        synthesis="synth_ice40",
        synthesis_options={"iCE40UP5K": "-dsp -abc9 -device u", "iCE40HX8K": "-abc9 -device hx"},
        place="nextpnr-ice40",
        devices={"iCE40UP5K": "--up5k", "iCE40HX8K": "--hx8k"},
        packages={"SG48": "sg48", "CT256": "ct256"},
        constraints="pcf",
        placed="asc",
        bitstream="bin",
        pack=("icepack", "{placed}", "{bitstream}"),
        unpack=("iceunpack", "{bitstream}", "{placed}"),
        column=256,
        attributes={"IO_STANDARD": "SB_LVCMOS"},
        logic="ICESTORM_LC",
        multipliers="ICESTORM_DSP",
        memories="ICESTORM_RAM",
        memory_cells=("SB_RAM40_4K", "SB_SPRAM256KA"),
        multiplier_cells=("SB_MAC16",),
        flip_flop_cells=("SB_DFF",),
        multipliers_of={"iCE40UP5K": 8, "iCE40HX8K": 0},
        logic_of={"iCE40UP5K": 5_280, "iCE40HX8K": 7_680},
        memories_of={"iCE40UP5K": 30, "iCE40HX8K": 32},
    ),
    "ecp5": Family(
        name="ecp5",
        synthesis="synth_ecp5",
        synthesis_options={},
        place="nextpnr-ecp5",
        devices={
            f"{kind}-{size}": f"--{option}{name}"
            for kind, option in _ECP5_KINDS.items()
            for size, name in _ECP5_SIZES.items()
        },
        packages={
            "BG256": "CABGA256",
            "MG285": "CSFBGA285",
            "BG381": "CABGA381",
            "BG554": "CABGA554",
        },
        constraints="lpf",
        placed="config",
        bitstream="bit",
        pack=("ecppack", "--compress", "--input", "{placed}", "--bit", "{bitstream}"),
        unpack=("ecpunpack", "--input", "{bitstream}", "--textcfg", "{placed}"),
        column=512,
        attributes={"IO_TYPE": "LVCMOS33"},
        logic="TRELLIS_COMB",
        multipliers="MULT18X18D",
        memories="DP16KD",
        memory_cells=("DP16KD", "PDPW16KD"),
        multiplier_cells=("MULT18X18D",),
        flip_flop_cells=("TRELLIS_FF",),
        multipliers_of=_ecp5(28, 72, 156),
        logic_of=_ecp5(24_288, 43_848, 83_640),
        memories_of=_ecp5(56, 108, 208),
    ),
}
