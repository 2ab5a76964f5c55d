"""Number formats: bits of the weights, and the format of cached rows."""

from dataclasses import dataclass
from enum import StrEnum

from gptloom.model.arithmetic import (
    ACTIVATION_BITS,
    PRE_SHIFT,
    SCORE_SHIFT,
    WEIGHT_BITS,
)
from gptloom.model.errors import UserError

LEAST_BITS, MOST_BITS = 2, 9
"""Widths of weights and of cached elements; a byte of an ECP5's block RAM has nine bits."""


def _check(name: str, bits: int) -> None:
    if not LEAST_BITS <= bits <= MOST_BITS:
        raise UserError(f"{bits} bits are no width for {name}: choose {LEAST_BITS} to {MOST_BITS}")


class Encoding(StrEnum):
    """Encodings of a cached number's bits."""

    TWOS_COMPLEMENT = "two's complement"


class CacheScale(StrEnum):
    """Parts of keys and values that share a scale.

    Hardware is the same for all: queries and matrices absorb the scales.
    """

    ELEMENT = "element"
    HEAD = "head"
    TENSOR = "tensor"


@dataclass(frozen=True)
class RowFormat:
    """Format of the elements of cached rows.

    Raises
    ------
    UserError
        The accumulators are not made for the width.
    """

    bits: int = 8
    encoding: Encoding = Encoding.TWOS_COMPLEMENT
    scale: CacheScale = CacheScale.ELEMENT

    def __post_init__(self) -> None:
        _check("cached rows", self.bits)


@dataclass(frozen=True)
class CacheFormat:
    """Formats of keys and values, which need not be those of the weights."""

    keys: RowFormat = RowFormat()
    values: RowFormat = RowFormat()

    @property
    def widths(self) -> tuple[int, int]:
        """Bits of an element of a key and of a value."""
        return self.keys.bits, self.values.bits

    def row_bits(self, width: int) -> int:
        """Return the bits of a key and a value with `width` elements each."""
        return width * sum(self.widths)


@dataclass(frozen=True)
class Precision:
    """Precision profile of a plain integer model.

    Attributes
    ----------
    weights
        Bits of a weight, two's complement.
    cache
        Format of keys and values.
    activations
        Bits of what matrices are multiplied with.
    stream
        Bits of the residual stream.
    unrotated
        Bits of queries and keys before their rotation.
    scores
        Bits of a score, of which `SCORE_FRACTION` are a fraction.
    score_shift
        Right shift from a q.k dot product to a score.
    pre_shift
        Low accumulator bits that are dropped before the scale multiplier.
    exponent_first
        Whether sums over numerators are shifted by the exponent of their scale before they are
        saturated for its mantissa; long contexts need it.
    noise_bits
        Bits that choose an entry of the table of noise: rare tokens of large vocabularies need
        many entries.

    Raises
    ------
    UserError
        The accumulators are not made for the width of the weights.
    """

    weights: int = WEIGHT_BITS
    cache: CacheFormat = CacheFormat()
    activations: int = ACTIVATION_BITS
    stream: int = ACTIVATION_BITS
    unrotated: int = ACTIVATION_BITS
    scores: int = ACTIVATION_BITS
    score_shift: int = SCORE_SHIFT
    pre_shift: int = PRE_SHIFT
    exponent_first: bool = False
    noise_bits: int = 10

    def __post_init__(self) -> None:
        _check("weights", self.weights)


STANDARD = Precision()
"""Default precision of a microGPT: 8 bits of weights and cache, 10 of all others."""

FINE = Precision(
    weights=9, cache=CacheFormat(RowFormat(9), RowFormat(9)), activations=12, stream=16,
    unrotated=14, scores=12, score_shift=6, pre_shift=5, exponent_first=True, noise_bits=12,
)  # fmt: skip
"""Precision for text: every ninth bit that an ECP5's block RAMs have."""

COARSE = Precision(
    weights=8, cache=CacheFormat(RowFormat(8), RowFormat(8)), activations=12, stream=16,
    unrotated=14, scores=12, score_shift=5, pre_shift=5, exponent_first=True, noise_bits=12,
)  # fmt: skip
"""Precision for text in bytes. Activations are as wide as the scores that share their memory."""

USUAL_PROFILE = "J1"
PROFILES = {USUAL_PROFILE: FINE, "J2": COARSE}
"""Named profiles of the Llama family, the usual one first."""


def profile_of(precision: Precision) -> str | None:
    """Return the name of a precision's profile, if it has one."""
    return next((name for name, known in PROFILES.items() if known == precision), None)
