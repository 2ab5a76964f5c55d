"""Synthesis attributes of signals and memories."""

BLOCK_RAM = {"ram_style": "block", "rom_style": "block"}
"""Attributes of a memory whose contents another model replaces in a finished bitstream.

Yosys would turn a small memory, or one that is never written, into logic.
"""

NO_COLLISION = {"no_rw_check": 1}
"""Attribute of memories in which no bit that matters is read while it is written.

It is set on all memories of a component. Simulation reads the old word; block RAM guarantees
nothing, and yosys would add logic that does. The schedule never needs it
(``tests/firmware/test_schedule.py``). Yosys applies the attribute only to read ports that it infers
itself; :mod:`gptloom.boards.build` applies it to existing ones.
"""

KEEP = {"keep": 1}
"""Attribute of a sum that is added to others in the same cycle.

Yosys would merge the additions and build a tree of lookup tables for three or more numbers at once,
which is larger than carry chains in series.
"""

LOADED = {"reset_less": True}
"""Keyword argument of a register that is always written before it is read.

An iCE40 resets a register only while it is enabled, so a reset adds a level of logic before the
enable.
"""
