"""The folded core's instruction: one matrix, or one phase of attention, through the MAC array."""

from dataclasses import dataclass, fields
from enum import IntEnum
from math import ceil

from gptloom.firmware.latencies import longest_delay
from gptloom.firmware.machine import QUAD, Machine
from gptloom.firmware.widths import bits_of


class Kind(IntEnum):
    """Operands of the MAC array."""

    MATRIX = 0
    """Weights times one activation vector."""
    SCORES = 1
    """Cached keys times each head's query; as many passes as the positions need."""
    VALUES = 2
    """Cached values times each head's softmax numerators; as many quads as the positions need."""
    START = 3
    """None: the raw embedding goes through the requantiser, or recurrent sums do."""


class Destination(IntEnum):
    """Destinations of results."""

    ACTIVATION = 0
    STREAM = 1
    """The residual stream: activation memory, stream memory and the norm."""
    KEY = 2
    VALUE = 3
    LOGITS = 4
    SCORES = 5
    RESIDUAL = 6
    """Stream memory only: the normalised embedding, to which the first residual is added."""
    GATE = 7
    """Gate memory: factors of the products that follow."""


class Input(IntEnum):
    """Origins of the numbers that become results."""

    SUMS = 0
    """Sums of the MAC array."""
    STREAM = 1
    """Elements of the residual stream, as large as if they were sums."""
    GAINED = 2
    """The same, each times its gain."""


class Exponents(IntEnum):
    """Exponents that rows have beside their instruction's shift."""

    NONE = 0
    ROWS = 1
    """Each row its own, in the order of the program."""
    TOKEN = 2
    """That of the token's row of the embedding."""


class Scale(IntEnum):
    """Sources of the mantissa and exponent that scale a result."""

    ONE = 0
    NORM = 1
    SUM = 2
    TEMPERATURE = 3


class Function(IntEnum):
    """Function that a scaled result goes through."""

    NONE = 0
    RELU = 1
    SILU = 2
    ROTATE = 3
    """Pairs of elements are turned by the angles of the token's position."""


class Combination(IntEnum):
    """Operation that combines the function's value with another."""

    NONE = 0
    ADD = 1
    """The residual stream's element is added."""
    MULTIPLY = 2
    """The gate's element is the other factor."""


@dataclass(frozen=True)
class Instruction:
    """One instruction: operands to issue, then the use of their results.

    The hardware reads its two halves at different times, from separate memories.

    Attributes
    ----------
    kind
        A :class:`Kind`.
    base
        Operand word of the first pass and quad.
    passes, quads
        Groups of outputs, and words of inputs for each group. The sequencer replaces the one that
        depends on the position.
    source
        Activation word of the first quad.
    delay
        Cycles to wait before the first pass, for results still in the pipeline.
    destination
        A :class:`Destination`.
    target
        First activation word or operand word to write.
    rows
        Outputs to write; the rest of the last pass is padding.
    function, combination
        Post-operations, in this order: a :class:`Function` and a :class:`Combination`.
    scale, shift
        A :class:`Scale`, and the site's shift less one.
    input, exponents
        An :class:`Input` and :class:`Exponents`.
    final
        Last instruction of a token.
    prefill_final
        Last instruction of a prompt's token whose logits are not needed.
    """

    kind: Kind = Kind.MATRIX
    base: int = 0
    passes: int = 0
    quads: int = 0
    source: int = 0
    delay: int = 0
    destination: Destination = Destination.ACTIVATION
    target: int = 0
    rows: int = 0
    function: Function = Function.NONE
    combination: Combination = Combination.NONE
    scale: Scale = Scale.ONE
    shift: int = 0
    input: Input = Input.SUMS
    exponents: Exponents = Exponents.NONE
    final: bool = False
    prefill_final: bool = False


FIELDS = tuple(field.name for field in fields(Instruction))


class InstructionLayout:
    """Fields of a machine's instructions, each as wide as the machine needs.

    Attributes
    ----------
    issue
        Widths by name of the half that the sequencer reads, least significant first.
    result
        Widths of the half that is read when results leave the MAC array, in the same way.
    """

    def __init__(self, machine: Machine):
        activation_bits = bits_of(machine.activation_words - 1)
        gated = machine.gated
        self.issue = dict(
            kind=bits_of(max(Kind)),
            base=machine.address_bits,
            passes=bits_of(ceil(machine.rows / machine.units)),
            quads=bits_of(ceil(machine.inputs / QUAD)),
            source=activation_bits,
            delay=bits_of(longest_delay(machine)),
            final=1,
            prefill_final=1,
        )
        self.result = dict(
            destination=bits_of(max(Destination)),
            target=max(machine.address_bits, activation_bits),
            rows=machine.row_bits,
            function=bits_of(max(Function) if gated else Function.RELU),
            combination=bits_of(max(Combination) if gated else Combination.ADD),
            scale=bits_of(max(Scale)),
            shift=5,
            input=bits_of(max(Input) if gated else Input.STREAM),
            exponents=bits_of(max(Exponents)) if gated else 0,
        )

    @property
    def issue_bytes(self) -> int:
        """Bytes of the first half in memory."""
        return ceil(sum(self.issue.values()) / 8)

    @property
    def result_bytes(self) -> int:
        """Bytes of the second half in memory."""
        return ceil(sum(self.result.values()) / 8)

    @property
    def bytes(self) -> int:
        """Bytes of an instruction."""
        return self.issue_bytes + self.result_bytes

    @property
    def stride(self) -> int:
        """Address step from one instruction to the next on the load port, a power of two."""
        return 1 << (self.bytes - 1).bit_length()

    def encode(self, instruction: Instruction) -> bytes:
        """Return an instruction's bytes, both halves.

        Raises
        ------
        ValueError
            If a field does not fit its width.
        """
        halves = ((self.issue, self.issue_bytes), (self.result, self.result_bytes))
        return b"".join(
            self._pack(instruction, widths).to_bytes(size, "little") for widths, size in halves
        )

    @staticmethod
    def _pack(instruction: Instruction, widths: dict[str, int]) -> int:
        word, position = 0, 0
        for name, width in widths.items():
            value = int(getattr(instruction, name))
            if not 0 <= value < 1 << width:
                raise ValueError(f"{name} {value} does not fit {width} bits of an instruction")
            word |= value << position
            position += width
        return word
