"""The folded core's instruction: one matrix, or one phase of attention, through the engine."""

from dataclasses import dataclass, fields
from enum import IntEnum

from gptloom.firmware.machine import INSTRUCTION_BYTES

MAX_INSTRUCTIONS = 63
"""Most instructions of a token: results carry their number, and 63 stands for the embedding."""


class Kind(IntEnum):
    """What the engine multiplies."""

    MATRIX = 0
    """Weights with one activation vector."""
    SCORES = 1
    """Cached keys with each head's query; as many passes as positions need."""
    VALUES = 2
    """Cached values with each head's softmax numerators; as many quads as positions need."""
    START = 3
    """Nothing: the raw embedding goes through the requantiser, or recurrent sums do."""


class Destination(IntEnum):
    """Where results go."""

    ACTIVATION = 0
    STREAM = 1
    """The residual stream: activation memory, stream memory and the norm."""
    KEY = 2
    VALUE = 3
    LOGITS = 4
    SCORES = 5
    RESIDUAL = 6
    """Stream memory only: the normalised embedding, on which the first residual is added."""


class Scale(IntEnum):
    """Which mantissa and exponent a result is scaled with."""

    ONE = 0
    NORM = 1
    SUM = 2
    TEMPERATURE = 3


@dataclass(frozen=True)
class Instruction:
    """One instruction: what to issue, then what to do with the results.

    The hardware reads its halves at different times, from memories of their own.

    Attributes
    ----------
    kind
        A :class:`Kind`.
    base
        Operand word of the first pass and quad.
    passes, quads
        Groups of outputs, and words of inputs for each. The sequencer replaces the one that
        depends on the position.
    source
        Activation word of the first quad.
    delay
        Cycles to wait before the first pass, for results under way.
    destination
        A :class:`Destination`.
    target
        First activation word or operand word to write.
    rows
        Outputs to write; the rest of the last pass is padding.
    relu, residual
        Whether negative results become 0, and whether the residual stream is added.
    scale, shift
        A :class:`Scale`, and the site's shift less one.
    final
        Last instruction of a token.
    prefill_final
        Last instruction of a token that belongs to the prompt, where no logits are wanted.
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
    relu: bool = False
    residual: bool = False
    scale: Scale = Scale.ONE
    shift: int = 0
    final: bool = False
    prefill_final: bool = False

    def encode(self) -> int:
        """Return the instruction word.

        Raises
        ------
        ValueError
            If a field does not fit its width.
        """
        return self._pack(ISSUE_WIDTHS) | self._pack(RESULT_WIDTHS) << 8 * ISSUE_BYTES

    def _pack(self, widths: dict[str, int]) -> int:
        word, position = 0, 0
        for name, width in widths.items():
            value = int(getattr(self, name))
            if not 0 <= value < 1 << width:
                raise ValueError(f"{name} {value} does not fit {width} bits of an instruction")
            word |= value << position
            position += width
        return word


ISSUE_WIDTHS = dict(
    kind=2,
    base=12,
    passes=6,
    quads=6,
    source=5,
    delay=6,
    final=1,
    prefill_final=1,
)
"""Fields of the half that the sequencer reads and their widths, least significant first."""

RESULT_WIDTHS = dict(
    destination=3,
    target=12,
    rows=8,
    relu=1,
    residual=1,
    scale=2,
    shift=5,
)
"""Fields of the half that is read when results leave the engine."""

WIDTHS = ISSUE_WIDTHS | RESULT_WIDTHS
STRIDE_BITS = 8
"""Width of the distances between rows of the cache; loaded as one byte each."""

ISSUE_BYTES = 5
RESULT_BYTES = INSTRUCTION_BYTES - ISSUE_BYTES

assert sorted(WIDTHS) == sorted(field.name for field in fields(Instruction))
assert sum(ISSUE_WIDTHS.values()) <= 8 * ISSUE_BYTES
assert sum(RESULT_WIDTHS.values()) <= 8 * RESULT_BYTES
