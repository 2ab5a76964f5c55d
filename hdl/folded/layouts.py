"""Bundles of signals that travel between the folded core's blocks.

A dot product goes from the MAC array to the drain, as a :class:`Beat` to write-back, and as a
result (:class:`ResultBus`) to its listeners; scores leave the drain on a bus of their own
(:class:`ScoreBus`).
"""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Const, Shape, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import Out

from gptloom.firmware.isa import Destination, InstructionLayout
from gptloom.firmware.machine import QUAD, Machine
from gptloom.model.arithmetic import LOGIT_BITS, MANTISSA_BITS

EXPONENT_BITS = 5


def issue_fields(machine: Machine) -> data.StructLayout:
    """Return the half of an instruction that the sequencer reads."""
    return data.StructLayout(InstructionLayout(machine).issue)


def result_fields(machine: Machine) -> data.StructLayout:
    """Return the half of an instruction that is read when its results leave the MAC array."""
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


def quad(machine: Machine) -> data.ArrayLayout:
    """Return one word of an activation bank: four elements."""
    return data.ArrayLayout(signed(machine.element_bits), QUAD)


def stream_beat(machine: Machine) -> data.ArrayLayout:
    """Return as many elements of the residual stream as are written in a cycle."""
    return data.ArrayLayout(signed(machine.precision.stream), machine.writers)


def score_beat(machine: Machine) -> data.ArrayLayout:
    """Return the scores, or numerators, of all heads at some positions in a row."""
    heads = data.ArrayLayout(signed(machine.element_bits), machine.heads)
    return data.ArrayLayout(heads, machine.softmax_positions)


def job(machine: Machine) -> data.StructLayout:
    """Return what a pass belongs to: an instruction's number, and whether it is its first."""
    return data.StructLayout({"operation": machine.operation_bits, "opening": 1})


def issues(machine: Machine) -> data.StructLayout:
    """Return one quad of one pass: `first` and `last` of its pass; where its operands are.

    With heads that share keys and values, `share` is which of the units that take turns. Numerators
    may be `fresh` from the softmax.
    """
    shares = {"share": range(machine.shares)} if machine.shares > 1 else {}
    fresh = {"fresh": 1} if machine.overlaps else {}
    return data.StructLayout(
        {
            "valid": 1,
            "first": 1,
            "last": 1,
            "broadcast": 1,
            "bank": range(max(2, machine.heads)),
            "offset": range(max(2, machine.passes_per_position)),
            **shares,
            **fresh,
            "job": job(machine),
        }
    )


def operation_field(machine: Machine) -> tuple[int, int]:
    """Return where the number of an instruction begins within :func:`issues`, and its mask."""
    place = issues(machine)["job"]
    return place.offset + place.shape["operation"].offset, machine.embedding_operation


LISTENERS = {
    Destination.ACTIVATION: ("activations",),
    Destination.STREAM: ("activations", "stream", "norm"),
    Destination.KEY: ("keys",),
    Destination.VALUE: ("values",),
    Destination.LOGITS: ("sampler",),
    Destination.SCORES: ("softmax",),
    Destination.RESIDUAL: ("stream",),
    Destination.GATE: ("gates",),
}
"""Blocks that a destination means; keys and values are both parts of the operand memory."""

GATED_LISTENERS = LISTENERS | {Destination.STREAM: ("stream", "norm")}
"""Blocks that it means where only norms read the stream, whose values are activations."""


def listening(machine: Machine) -> dict[Destination, tuple[str, ...]]:
    """Return the blocks of a machine that a destination means."""
    return GATED_LISTENERS if machine.gated else LISTENERS


Listeners = data.StructLayout(
    dict.fromkeys(sorted({name for names in LISTENERS.values() for name in names}), 1)
)
"""One bit for each block that results can be for."""


def listeners(machine: Machine, destination: Value) -> Value:
    """Return the bits of :data:`Listeners` that a destination means: it is decoded here alone."""
    meant = listening(machine)
    return Cat(
        reduce(or_, (destination == d for d, names in meant.items() if name in names))
        for name in Listeners.members
    )


class Beat(wiring.Signature):
    """Sums on their way from the drain to write-back, `writers` in a cycle.

    Attributes
    ----------
    valid : Out(1)
        There is at least one.
    enable : Out
        Writers that have a row.
    index, last : Out
        Number of the first row; whether the instruction's last one is among them.
    to : Out
        Listeners of the results.
    operation, instruction : Out
        The instruction's number and the half of it that says how its results are treated.
    sums : Out
        Dot products.
    """

    def __init__(self, machine: Machine):
        super().__init__(
            {
                "valid": Out(1),
                "enable": Out(machine.writers),
                "index": Out(machine.row_bits),
                "last": Out(1),
                "to": Out(Listeners),
                "operation": Out(machine.operation_bits),
                "instruction": Out(result_fields(machine)),
                "sums": Out(accumulator(machine)).array(machine.writers),
            }
        )


class ScoreBus(wiring.Signature):
    """Scores on their way from the drain to the softmax, position by position, heads in order.

    Attributes
    ----------
    valid, first : Out(1)
        There are some; they are the first ones of their instruction.
    target : Out
        Activation word of the first position.
    sums : Out
        Dot products of `score_heads` heads, at `score_positions` positions.
    """

    def __init__(self, machine: Machine):
        super().__init__(
            {
                "valid": Out(1),
                "first": Out(1),
                "target": Out(range(machine.activation_words)),
                "sums": Out(accumulator(machine)).array(
                    machine.score_heads * machine.score_positions
                ),
            }
        )


class EmbeddingBus(wiring.Signature):
    """Sums of embeddings, elements `index`, ... of a row; `last` with its end."""

    def __init__(self, machine: Machine):
        super().__init__(
            {
                "valid": Out(1),
                "index": Out(machine.row_bits),
                "last": Out(1),
                "elements": Out(stream_beat(machine)),
            }
        )


def results(machine: Machine) -> data.StructLayout:
    """Return the layout of one beat of results.

    `enable` has a bit for each writer; element numbers are `index`, `index + 1`, ...
    """
    return data.StructLayout(
        {
            "enable": unsigned(machine.writers),
            "index": machine.row_bits,
            "last": 1,
            "to": Listeners,
            "operation": machine.operation_bits,
            "values": data.ArrayLayout(signed(LOGIT_BITS), machine.writers),
        }
    )


class ResultBus(wiring.Signature):
    """Results from write-back to whoever listens: one `beat` (:func:`results`) a cycle."""

    def __init__(self, machine: Machine):
        super().__init__({"beat": Out(results(machine))})


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
