"""The integer operations of the machine, defined once.

These functions define the arithmetic of hardware and golden model alike: every block in
:mod:`gptloom.hdl` is tested against them bit for bit. All of them work on NumPy integers of any
shape.

Widths shared by every model and core (bits, two's complement unless said otherwise):

========================  =====  ==========================================================
name                      bits   meaning
========================  =====  ==========================================================
``WEIGHT_BITS``               8  weights; K and V have a format of their own, :mod:`.formats`
``ACTIVATION_BITS``          10  everything the MAC array multiplies weights with
``SCALED_BITS``              18  an accumulator as it enters the scale multiplier
``MANTISSA_BITS``             9  unsigned scale mantissa, 256 to 511
``LOGIT_BITS``               16  a logit over the temperature, ``LOGIT_FRACTION`` fraction bits
========================  =====  ==========================================================
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Integers = NDArray[np.int64]

WEIGHT_BITS = 8
ACTIVATION_BITS = 10
SCALED_BITS = 18
MANTISSA_BITS = 9
LOGIT_BITS = 16
LOGIT_FRACTION = 7

PRE_SHIFT = 4
"""Low accumulator bits dropped before the scale multiplier (``SCALED_BITS`` wide)."""

EMBEDDING_SHIFT = 8
"""Left shift of the raw embedding where it replaces an accumulator (site ``start``)."""

UNIT_MANTISSA = 1 << (MANTISSA_BITS - 1)
"""Mantissa that stands for a scale of one."""

SCORE_FRACTION = 4
"""Fraction bits of an attention score, in octaves (log2 units)."""

SCORE_SHIFT = 7
"""Fixed right shift from a q.k dot product to a score."""


def saturate(value: ArrayLike, bits: int) -> Integers:
    """Clip to the range of a signed number of `bits` bits."""
    limit = 1 << (bits - 1)
    return np.clip(np.asarray(value, dtype=np.int64), -limit, limit - 1)


def round_shift(value: ArrayLike, shift: ArrayLike) -> Integers:
    """Shift right by `shift` (0 or more) bits, half up: ``floor(value / 2**shift + 1/2)``."""
    value = np.asarray(value, dtype=np.int64)
    shift = np.asarray(shift, dtype=np.int64)
    half = np.where(shift > 0, np.int64(1) << np.maximum(shift - 1, 0), 0)
    return (value + half) >> shift


def requantise(
    accumulator: ArrayLike, mantissa: ArrayLike, shift: ArrayLike, bits: int
) -> Integers:
    """Scale a dot product by ``mantissa * 2**-shift`` and fit it into `bits` bits.

    Parameters
    ----------
    accumulator
        Dot product, of any width.
    mantissa
        Unsigned scale mantissa, ``MANTISSA_BITS`` wide (``UNIT_MANTISSA`` is one).
    shift
        Right shift of the product, 1 to 31; counted after ``PRE_SHIFT``.
    bits
        Width of the result, saturated.
    """
    scaled = saturate(np.asarray(accumulator, dtype=np.int64) >> PRE_SHIFT, SCALED_BITS)
    return saturate(round_shift(scaled * mantissa, shift), bits)


def quantise_score(accumulator: ArrayLike) -> Integers:
    """Attention score from a q.k dot product: fixed shift, round half up, saturate."""
    return saturate(round_shift(accumulator, SCORE_SHIFT), ACTIVATION_BITS)
