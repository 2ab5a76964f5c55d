"""Bundles of signals that travel between the folded core's blocks."""

from amaranth.hdl import Const, Value, signed, unsigned
from amaranth.lib import data

from gptloom.firmware.isa import ISSUE_WIDTHS, RESULT_WIDTHS, WIDTHS
from gptloom.firmware.machine import QUAD, Machine
from gptloom.model.arithmetic import (
    ACCUMULATOR_BITS,
    ACTIVATION_BITS,
    LOGIT_BITS,
    MANTISSA_BITS,
    WEIGHT_BITS,
)

Instruction = data.StructLayout({name: unsigned(width) for name, width in ISSUE_WIDTHS.items()})
"""What the sequencer reads of an instruction."""

Order = data.StructLayout({name: unsigned(width) for name, width in RESULT_WIDTHS.items()})
"""What is read of an instruction when its results leave the engine."""

INDEX_BITS = WIDTHS["rows"]
ADDRESS_BITS = WIDTHS["base"]
EXPONENT_BITS = 5
OPERATION_BITS = 6
UNIT_BITS = QUAD * WEIGHT_BITS
"""One unit's share of an operand word."""

Accumulator = signed(ACCUMULATOR_BITS)
"""A dot product."""

Scale = data.StructLayout(
    {"mantissa": unsigned(MANTISSA_BITS), "exponent": unsigned(EXPONENT_BITS)}
)
"""A factor ``mantissa * 2**-exponent``, as the tables give it."""

Temperature = data.StructLayout(
    {"mantissa": unsigned(MANTISSA_BITS), "shift": unsigned(EXPONENT_BITS), "greedy": 1}
)
"""Run-time scale of the logits; `shift` is one less than :class:`.LogitScale` has it."""

Quad = data.ArrayLayout(signed(ACTIVATION_BITS), QUAD)
"""One word of activation memory: four elements."""

Job = data.StructLayout({"operation": unsigned(OPERATION_BITS), "opening": 1})
"""What a pass belongs to: an instruction's number in the program, and whether it is its first."""

Issue = data.StructLayout(
    {
        "valid": 1,
        "first": 1,
        "last": 1,
        "broadcast": 1,
        "bank": unsigned(4),
        "offset": unsigned(4),
        "job": Job,
    }
)
"""One quad of one pass: `first` and `last` of its pass; where its operands are."""


def results(machine: Machine) -> data.StructLayout:
    """Return the layout of one beat of results, as they are written back.

    `enable` has a bit for each writer; element numbers are `index`, `index + 1`, ...
    """
    return data.StructLayout(
        {
            "enable": unsigned(machine.writers),
            "index": unsigned(INDEX_BITS),
            "last": 1,
            "destination": unsigned(WIDTHS["destination"]),
            "operation": unsigned(OPERATION_BITS),
            "values": data.ArrayLayout(signed(LOGIT_BITS), machine.writers),
        }
    )


def places(machine: Machine) -> data.StructLayout:
    """Return the layout of where a document's rows are.

    Those before `joint` granules are in the slot `head`, all others in `tail`.
    """
    slot = range(max(machine.slots, 1))
    # Without joints both fields have no bits.
    joints = (machine.context - 1) // machine.granule + 1 if machine.joins else 1
    head = slot if machine.joins else range(1)
    return data.StructLayout({"head": head, "tail": slot, "joint": range(joints)})


def slot_address(machine: Machine, slot: Value) -> Value:
    """Return what a slot of the cache adds to the addresses of the first one: bits of their own."""
    return slot << (machine.slot_words - 1).bit_length() if machine.slots > 1 else Const(0)
