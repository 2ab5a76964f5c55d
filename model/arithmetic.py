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
"""Right shift from a q.k dot product to a score, unless a profile has another."""

ROTARY_FRACTION = 11
"""Fraction bits of sines and cosines, which have a sign bit beside them."""

SILU_BITS, SILU_FRACTION = 12, 7
"""Width and fraction bits of SiLU's argument."""

SILU_RESULT_BITS, SILU_RESULT_FRACTION = 15, 10
"""Width and fraction bits of SiLU's result."""

GATE_SHIFT = SILU_RESULT_FRACTION - 1
"""Right shift of a product with a SiLU: twice the product of their values."""


def matrix_product(one: NDArray, other: NDArray) -> NDArray:
    """Return the product of matrices in the last two dimensions.

    Sums of integers stay below 2**53 here, so that double precision holds every one of them
    exactly, in any order, and its products are several times faster than those of integers.
    """
    exact = one.astype(np.float64) @ other.astype(np.float64)
    whole = np.issubdtype(one.dtype, np.integer) and np.issubdtype(other.dtype, np.integer)
    return exact.astype(np.int64) if whole else exact


def saturate(value: ArrayLike, bits: int) -> Integers:
    """Clip to the range of a signed number of `bits` bits."""
    limit = 1 << (bits - 1)
    # Faster than np.clip, which looks up the range of the type each time.
    return np.minimum(np.maximum(np.asarray(value, dtype=np.int64), -limit), limit - 1)


def round_shift(value: ArrayLike, shift: ArrayLike) -> Integers:
    """Shift right by `shift` (0 to 62) bits, half up: ``floor(value / 2**shift + 1/2)``."""
    value = np.asarray(value, dtype=np.int64)
    shift = np.asarray(shift, dtype=np.int64)
    half = (np.int64(1) << shift) >> 1
    return (value + half) >> shift


def requantise(
    accumulator: ArrayLike,
    mantissa: ArrayLike,
    shift: ArrayLike,
    bits: int,
    pre_shift: int = PRE_SHIFT,
) -> Integers:
    """Scale a dot product by ``mantissa * 2**-shift`` and fit it into `bits` bits.

    Parameters
    ----------
    accumulator
        Dot product, of any width.
    mantissa
        Unsigned scale mantissa, ``MANTISSA_BITS`` wide (``UNIT_MANTISSA`` is one).
    shift
        Right shift of the product, 1 to 31; counted after `pre_shift`.
    bits
        Width of the result, saturated.
    pre_shift
        Low bits of the accumulator that are dropped.
    """
    scaled = saturate(np.asarray(accumulator, dtype=np.int64) >> pre_shift, SCALED_BITS)
    return saturate(round_shift(scaled * mantissa, shift), bits)


def quantise_score(
    accumulator: ArrayLike, shift: int = SCORE_SHIFT, bits: int = ACTIVATION_BITS
) -> Integers:
    """Attention score from a q.k dot product: fixed shift, round half up, saturate."""
    return saturate(round_shift(accumulator, shift), bits)


def rotate(
    pairs: ArrayLike, cosine: ArrayLike, sine: ArrayLike, narrower: int, bits: int
) -> Integers:
    """Turn pairs of elements.

    Parameters
    ----------
    pairs
        Elements, ``[..., 2]``.
    cosine, sine
        Of the pairs' angles, ``ROTARY_FRACTION`` fraction bits, ``[...]``.
    narrower
        Low bits of the turned elements that are dropped, rounded half up.
    bits
        Width of the result, saturated.
    """
    even, odd = np.moveaxis(np.asarray(pairs, dtype=np.int64), -1, 0)
    turned = np.stack([even * cosine - odd * sine, even * sine + odd * cosine], axis=-1)
    return saturate(round_shift(turned, ROTARY_FRACTION + narrower), bits)
