"""Number formats: bits of the weights, and the format of cached rows."""

from dataclasses import dataclass
from enum import StrEnum

from gptloom.model.arithmetic import WEIGHT_BITS
from gptloom.model.errors import UserError

LEAST_BITS, MOST_BITS = 2, 8
"""Widths of weights and of cached elements; the accumulators are made for them, and a lane of the
operand memory holds a byte."""


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

    Raises
    ------
    UserError
        The accumulators are not made for the width of the weights.
    """

    weights: int = WEIGHT_BITS
    cache: CacheFormat = CacheFormat()

    def __post_init__(self) -> None:
        _check("weights", self.weights)


STANDARD = Precision()
"""Default precision of models: 8 bits throughout."""
