"""What synthesis is told of signals and memories."""

BLOCK_RAM = {"ram_style": "block", "rom_style": "block"}
"""Of a memory that another model's contents replace in a finished bitstream.

Yosys would make logic of a small one, and of one that nothing writes.
"""

KEEP = {"keep": 1}
"""Of a sum that is added to others in the same cycle.

Yosys would merge the additions and build a tree of lookup tables for three or more numbers at once,
which is larger than one carry chain behind the other.
"""
