"""A family of parts: its tools, the names of its cells, and its PLL, multiplier and block RAM."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gptloom.boards.memories import Ram
from gptloom.hdl.multipliers import Multiplier
from gptloom.hdl.unrolled.target import Target

if TYPE_CHECKING:
    from amaranth.build import Platform, Resource
    from amaranth.hdl import Module, Signal

    from gptloom.boards.board import Wires


class Pll(ABC):
    """Settings of a family's PLL.

    Attributes
    ----------
    settling
        Seconds after lock during which the part is not ready yet.
    """

    settling = 0.0

    @property
    @abstractmethod
    def hz(self) -> float:
        """Frequency of the output."""

    @abstractmethod
    def connect(self, m: Module, pin, clock: Signal, locked: Signal, *, on_pad: bool) -> None:
        """Add the cell between an oscillator's pin and the clock.

        Parameters
        ----------
        m
            Module that gets the cell.
        pin
            Pin of the oscillator.
        clock, locked
            Driven by the cell.
        on_pad
            The pin is the PLL's own pad, see :attr:`.Board.on_pad`.
        """


@dataclass(frozen=True)
class Family:
    """One family.

    Attributes
    ----------
    name
        Its name in files of figures, e.g. ``ice40``.
    solve
        Finds the setting of the PLL nearest to a frequency, from reference and target in Hz.
    multiplier
        The family's own multiplier.
    rams
        Kinds of RAM cells.
    unrolled
        Returns the target of an unrolled core with this many multiplier cells; None if the family
        cannot have one.
    framed
        Whether there is room for commands and uploads on the serial line.
    synthesis
        The yosys command, without ``-top``.
    synthesis_options
        Further options by part, e.g. to use its multipliers.
    place
        The nextpnr tool.
    place_output
        nextpnr's option for the placed design.
    devices, packages
        nextpnr's options by part, and its names of packages.
    constraints, placed, bitstream
        File extensions of the pins and clocks, of the placed design, and of the bitstream.
    pack
        The tool that makes a bitstream, and its arguments; ``{placed}`` and ``{bitstream}`` are
        the files.
    unpack
        The tool that reverses it, and its arguments, with ``{bitstream}`` and ``{placed}``.
    contents
        The tool that replaces the contents of block RAMs, and its arguments: ``{before}`` and
        ``{after}`` are the contents, ``{placed}`` and ``{patched}`` the designs; designs that are
        not named are its standard input and output.
    contents_section
        Word that begins a block RAM's contents in the placed design.
    column
        Words of a block RAM's column, as the contents tool counts them.
    attributes
        Attributes of an ordinary 3.3 V pin.
    logic, multipliers, memories
        Names of the cells that the report counts, in nextpnr. An iCE40's logic cell is a lookup
        table with a flip-flop.
    memory_cells, multiplier_cells, flip_flop_cells
        Prefixes of the netlist's cell types.
    multipliers_of, logic_of, memories_of
        Number of multiplier cells, logic cells (on an ECP5 lookup tables, each with a flip-flop)
        and block RAMs by part.
    """

    name: str
    solve: Callable[[float, float], Pll]
    multiplier: type[Multiplier]
    rams: tuple[Ram, ...]
    unrolled: Callable[[int], Target] | None
    framed: bool
    synthesis: str
    synthesis_options: Mapping[str, str]
    place: str
    place_output: str
    devices: Mapping[str, str]
    packages: Mapping[str, str]
    constraints: str
    placed: str
    bitstream: str
    pack: tuple[str, ...]
    unpack: tuple[str, ...]
    contents: tuple[str, ...]
    contents_section: str
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

    def part(self, platform: Platform) -> list[str]:
        """Return the options of the nextpnr tool for a platform's part."""
        options = [self.devices[platform.device], "--package", self.packages[platform.package]]
        speed = getattr(platform, "speed", None)
        return [*options, "--speed", speed] if speed else options

    def resource(self, wires: Wires) -> Resource:
        """Make the platform's resource from an entry's wires."""
        from amaranth.build import Attrs, Pins, Resource, Subsignal

        def pins(names: str, direction: str) -> Pins:
            bare = names.removeprefix("!")
            return Pins(bare, dir=direction, invert=bare != names, conn=wires.connector)

        parts = [(name, pins(n, "o")) for name, n in wires.outputs]
        parts += [(name, pins(n, "i")) for name, n in wires.inputs]
        ios = [p if name == "-" else Subsignal(name, p) for name, p in parts]
        return Resource(wires.name, 0, *ios, Attrs(**self.attributes))
