"""Contents of a bitstream's memories, and how they are replaced by another model's.

A design is placed and routed with memories full of random bits. Every column (one bit position of
a memory's words, for as many words as one block RAM has) is then found in the placed design by its
contents, wherever it went, and replaced by the model's: by icebram and ecpbram, which know how
blocks are laid out in the files.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from gptloom.firmware.image import Image
from gptloom.firmware.isa import InstructionLayout
from gptloom.firmware.machine import Machine
from gptloom.firmware.page import INDEX_AT, PAGE_BYTES
from gptloom.firmware.regions import Region, table_bytes, table_words
from gptloom.hdl.preload import Preload

Shape = tuple[int, int]
"""Words and bits of a memory."""


def memory_shapes(machine: Machine, page_bytes: int = PAGE_BYTES) -> dict[str, Shape]:
    """Return the memories that an image fills, by their names in :class:`.Preload`."""
    halves, sizes = InstructionLayout(machine), table_bytes(machine)
    tables = {
        region.name.lower(): (words, 8 * sizes[region])
        for region, words in table_words(machine).items()
    }
    return {
        "operands": (machine.operand_words, machine.lane_bits * machine.lanes),
        "issue_program": (machine.program_words, 8 * halves.issue_bytes),
        "result_program": (machine.program_words, 8 * halves.result_bytes),
        **tables,
        "page": (page_bytes, 8),
    }


def placeholder(image: Image, machine: Machine, seed: int = 0) -> Preload:
    """Return random contents for all memories, the same for every image of these settings."""
    source = random.Random(seed)
    memories = {
        name: [source.getrandbits(bits) for _ in range(words)]
        for name, (words, bits) in memory_shapes(machine, len(image.regions[Region.PAGE])).items()
    }
    return Preload(**memories, settings=Preload.of(image, machine).settings)


def _contents(preload: Preload, machine: Machine) -> Iterator[tuple[Sequence[int], Shape]]:
    """Yield the contents and the shape of every memory."""
    for name, shape in memory_shapes(machine, len(preload.page)).items():
        contents = getattr(preload, name)
        if name != "page":
            yield contents, shape
            continue
        # The console's, and the speller's, which is empty without text.
        for part in (contents[:INDEX_AT], contents[INDEX_AT:]):
            yield part, (len(part), shape[1])


def columns(preload: Preload, machine: Machine, depth: int) -> list[int]:
    """Return all columns of the memories.

    Parameters
    ----------
    preload
        The contents.
    machine
        The machine that they are for.
    depth
        Words of a column: 256 (iCE40) or 512 (ECP5).

    Returns
    -------
    list of int
        Word i of a column is its bit i; memory by memory, `depth` words by `depth` words, the
        lowest bit position first. Their number is a multiple of 8.
    """
    found = []
    for contents, (words, bits) in _contents(preload, machine):
        for base in range(0, words, depth):
            part = contents[base : base + depth]
            found += [
                sum((word >> place & 1) << i for i, word in enumerate(part))
                for place in range(bits)
            ]
    return found


def hex_lines(columns: list[int], depth: int) -> str:
    """Return columns as icebram and ecpbram read them: a line for each of `depth` words."""
    digits = len(columns) // 4
    rows = (sum((column >> i & 1) << j for j, column in enumerate(columns)) for i in range(depth))
    return "".join(f"{row:0{digits}x}\n" for row in rows)
