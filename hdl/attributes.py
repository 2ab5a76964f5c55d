"""What synthesis is told of signals and memories."""

BLOCK_RAM = {"ram_style": "block", "rom_style": "block"}
"""Of a memory that another model's contents replace in a finished bitstream.

Yosys would make logic of a small one, and of one that nothing writes.
"""
