"""Bundles of signals that travel between the folded core's blocks."""

from amaranth.hdl import Const, Shape, Value, signed, unsigned
from amaranth.lib import data

from gptloom.firmware.isa import InstructionLayout
from gptloom.firmware.machine import QUAD, Machine
from gptloom.model.arithmetic import (
    ACTIVATION_BITS,
    LOGIT_BITS,
    MANTISSA_BITS,
    WEIGHT_BITS,
)

EXPONENT_BITS = 5
UNIT_BITS = QUAD * WEIGHT_BITS
"""One unit's share of an operand word."""


def issue_fields(machine: Machine) -> data.StructLayout:
    """Return the half of an instruction that the sequencer reads."""
    return data.StructLayout(InstructionLayout(machine).issue)


def result_fields(machine: Machine) -> data.StructLayout:
    """Return the half of an instruction that is read when its results leave the engine."""
    return data.StructLayout(InstructionLayout(machine).result)


def accumulator(machine: Machine) -> Shape:
    """Return the shape of a dot product."""
    return signed(machine.accumulator_bits)


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


def job(machine: Machine) -> data.StructLayout:
    """Return what a pass belongs to: an instruction's number, and whether it is its first."""
    return data.StructLayout({"operation": machine.operation_bits, "opening": 1})


def issues(machine: Machine) -> data.StructLayout:
    """Return one quad of one pass: `first` and `last` of its pass; where its operands are."""
    return data.StructLayout(
        {
            "valid": 1,
            "first": 1,
            "last": 1,
            "broadcast": 1,
            "bank": range(max(2, machine.heads)),
            "offset": range(max(2, machine.words_per_position)),
            "job": job(machine),
        }
    )


def operation_field(machine: Machine) -> tuple[int, int]:
    """Return where the number of an instruction begins within :func:`issues`, and its mask."""
    place = issues(machine)["job"]
    return place.offset + place.shape["operation"].offset, machine.embedding_operation


def results(machine: Machine) -> data.StructLayout:
    """Return the layout of one beat of results, as they are written back.

    `enable` has a bit for each writer; element numbers are `index`, `index + 1`, ...
    """
    return data.StructLayout(
        {
            "enable": unsigned(machine.writers),
            "index": machine.row_bits,
            "last": 1,
            "destination": InstructionLayout(machine).result["destination"],
            "operation": machine.operation_bits,
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
