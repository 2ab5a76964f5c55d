"""Mapping of a design's memories to cells: how many block RAMs, or lookup tables instead.

yosys (pass ``memory_libmap``) computes the cost of every memory in each kind of RAM cell, and in
logic, and takes the cheapest. The same rules are applied here to the memories of the elaborated
design, so that the number of blocks is exact and known without synthesis.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass
from math import ceil, inf
from typing import TYPE_CHECKING

from amaranth.hdl import Elaboratable, Fragment
from amaranth.hdl import Shape as Bits

if TYPE_CHECKING:
    from amaranth.lib.memory import Memory

LOADED = (".tokens.", ".positions.", ".recurrence.table.", ".issue_program.", ".result_program.")
"""Parts of the names of memories that are written by the load port only: the boards' tops have an
image from power-on and leave that port unused, so these memories are ROM."""


@dataclass(frozen=True)
class Shape:
    """One memory of a design.

    Attributes
    ----------
    name
        Path in the design.
    words, width
        Depth, and bits of a word.
    enables
        Write enables of a word, each for an equal share of it; 0 if it is never written.
    readers
        Number of read ports.
    in_blocks
        Whether the design asks for block RAM.
    collisions
        Whether a word that is written while it is read must be read with its old value.
    """

    name: str
    words: int
    width: int
    enables: int
    readers: int = 1
    in_blocks: bool = False
    collisions: bool = True

    @property
    def bits(self) -> int:
        """Bits of the whole memory."""
        return self.words * self.width


@dataclass(frozen=True)
class Placed:
    """Cells that memories take.

    Attributes
    ----------
    blocks
        Number of block RAMs.
    distributed
        Number of cells of lookup tables.
    multiplexers
        Bits that are selected from two, where words are in more than one row of cells.
    rom_bits, register_bits
        Bits of constants, and of flip-flops, in logic.
    """

    blocks: int = 0
    distributed: int = 0
    multiplexers: int = 0
    rom_bits: int = 0
    register_bits: int = 0

    def __add__(self, other: Placed) -> Placed:
        mine, its = astuple(self), astuple(other)
        return Placed(*(a + b for a, b in zip(mine, its, strict=True)))


@dataclass(frozen=True)
class Ram:
    """One kind of RAM cell, as yosys describes it.

    Attributes
    ----------
    widths
        Widths of a word, the narrowest first; each next one has half as many words.
    words
        Words at the narrowest width.
    cost
        Cost of a cell; a bit in flip-flops costs 1.
    byte
        Bits per write enable; 0 if there is one enable for the whole word.
    least_write, most_write
        Narrowest and widest word that can be written, if not any width.
    ports
        Number of read ports; if there are several, the last one can write instead.
    distributed
        Whether it is made of lookup tables, and read without a clock.
    """

    widths: tuple[int, ...]
    words: int
    cost: int
    byte: int = 0
    least_write: int = 0
    most_write: int = 1 << 30
    ports: int = 1
    distributed: bool = False

    def place(self, memory: Shape) -> tuple[float, Placed]:
        """Return the cost of a memory in such cells, and the cells that it takes.

        Cells in parallel make words wider; cells for more words need multiplexers, which also
        have a cost.
        """
        best: tuple[float, Placed] | None = None
        for step, width in enumerate(self.widths):
            if memory.enables:
                if best and width > self.most_write:
                    break
                # Words narrower than the narrowest write are possible through byte enables.
                if width < self.least_write and width < self.byte:
                    continue
                width = min(width, self.most_write)
            banks = ceil(memory.words / (self.words >> step))
            cells = ceil(banks * self._padded(memory, width) / width) * self._copies(memory)
            multiplexers = (banks - 1) * memory.width * memory.readers
            demultiplexers = banks * memory.enables if banks > 1 else 0
            cost = (
                self.cost * cells
                + (multiplexers + demultiplexers) / 2
                + 2 * self._emulation(memory)
            )
            # yosys compares with the best cost so far without its fraction.
            if best is None or cost < int(best[0]):
                kind = "distributed" if self.distributed else "blocks"
                best = cost, Placed(multiplexers=multiplexers, **{kind: cells})
        return best

    def _padded(self, memory: Shape, width: int) -> int:
        """Return the bits of a word, including those that its enables leave unused."""
        if not memory.enables:
            return memory.width
        byte = min(self.byte or width, width)
        return memory.enables * ceil(memory.width / memory.enables / byte) * byte

    def _copies(self, memory: Shape) -> int:
        """Return how many copies of all cells it takes to give every reader a port."""
        free = self.ports - 1 if memory.enables and self.ports > 1 else self.ports
        return ceil(memory.readers / free)

    def _emulation(self, memory: Shape) -> int:
        """Return the score of the logic around the cells.

        Block RAM does not guarantee what a read gets that collides with a write.
        """
        promised = self.distributed or not memory.enables or not memory.collisions
        collisions = 0 if promised else 3 + 3 * memory.readers
        return collisions + memory.readers


ROM_BIT, RAM_BIT = 1 / 16, 1
"""Cost of a bit in logic."""


def place(memory: Shape, rams: Iterable[Ram]) -> Placed:
    """Return the cells that one memory takes, given these kinds of RAM cells."""
    written = bool(memory.enables)
    if written:
        best, placed = memory.bits * RAM_BIT, Placed(register_bits=memory.bits)
    else:
        best, placed = memory.bits * ROM_BIT, Placed(rom_bits=memory.bits)
    if memory.in_blocks:
        best = inf
    for ram in rams:
        # Constants are never put into lookup tables that can be written.
        if ram.distributed and (memory.in_blocks or not written):
            continue
        cost, cells = ram.place(memory)
        if cost < best:
            best, placed = int(cost), cells
    return placed


def place_all(memories: Iterable[Shape], rams: Iterable[Ram]) -> Placed:
    """Return the cells that all memories of a design take, see :func:`place`."""
    return sum((place(memory, rams) for memory in memories), Placed())


class _Recorder:
    """Stand-in for a platform: it returns the memory itself instead of a memory's hardware."""

    def get_memory(self, memory: Memory) -> Fragment:
        """Return the memory as a fragment."""
        fragment = Fragment()
        fragment.memory = memory
        return fragment


def find_memories(design: Elaboratable) -> list[Shape]:
    """Elaborate a design, without any board's cells, and return its memories."""
    return list(_walk(Fragment.get(design, _Recorder()), ""))


def _walk(fragment: Fragment, path: str) -> Iterator[Shape]:
    memory = getattr(fragment, "memory", None)
    if memory is not None:
        yield _shape(memory, path)
    for inner, name, *_ in fragment.subfragments:
        yield from _walk(inner, f"{path}.{name}")


def _shape(memory: Memory, path: str) -> Shape:
    loaded = any(part in f"{path}." for part in LOADED)
    styles = {memory.attrs.get(f"{kind}_style") for kind in ("ram", "rom")}
    return Shape(
        name=path.removeprefix("."),
        words=memory.depth,
        width=Bits.cast(memory.shape).width,
        enables=0 if loaded else sum(len(port.en) for port in memory.write_ports),
        readers=len(memory.read_ports),
        in_blocks="block" in styles,
        collisions="no_rw_check" not in memory.attrs,
    )
