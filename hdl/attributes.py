"""What synthesis is told of signals and memories."""

BLOCK_RAM = {"ram_style": "block", "rom_style": "block"}
"""Of a memory that another model's contents replace in a finished bitstream.

Yosys would make logic of a small one, and of one that nothing writes.
"""

NO_COLLISION = {"no_rw_check": 1}
"""Of all memories of a component where no bit that matters is read while it is written.

Simulation reads what was there before; block RAM promises nothing, and yosys would add logic that
does. The schedule never needs it (``tests/firmware/test_schedule.py``). Yosys heeds its attribute
only where it makes read ports itself; :mod:`gptloom.boards.build` does where they are there before.
"""

KEEP = {"keep": 1}
"""Of a sum that is added to others in the same cycle.

Yosys would merge the additions and build a tree of lookup tables for three or more numbers at once,
which is larger than one carry chain behind the other.
"""

LOADED = {"reset_less": True}
"""Keyword of a register that is written before it is read, whenever something begins.

An iCE40 resets a register only while it is enabled: a reset is one more step of logic before the
enable.
"""
