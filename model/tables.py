"""Nonlinear functions as tables of integers.

Each table is filled from its real function once, here; the golden model looks values up and the
hardware holds the same entries in its ROMs. Results with a wide range are a mantissa and an
exponent, so that one multiplication and one shift apply them (:func:`.requantise`).
"""

from functools import cache

import numpy as np
from numpy.typing import ArrayLike

from gptloom.model import positions
from gptloom.model.arithmetic import (
    ACTIVATION_BITS,
    LOGIT_FRACTION,
    MANTISSA_BITS,
    ROTARY_FRACTION,
    SCORE_FRACTION,
    SILU_FRACTION,
    SILU_RESULT_FRACTION,
    Integers,
    round_shift,
)

_TOP = (1 << MANTISSA_BITS) - 1

EXP2_FRACTION = MANTISSA_BITS
"""Fraction bits of a softmax numerator; its largest value, for the maximum score, is 511/512."""

RECIPROCAL_INDEX_BITS = 6
RSQRT_WINDOW_BITS = 7
NOISE_BITS = 12


def exp2_entries(bits: int) -> Integers:
    """Return ``2**-f`` for f in steps of 1/16 octave: unsigned, `bits` fraction bits, none 1.0."""
    top = (1 << bits) - 1
    steps = np.arange(1 << SCORE_FRACTION) / (1 << SCORE_FRACTION)
    return np.round(top * 2.0**-steps).astype(np.int64)


EXP2_TABLE = exp2_entries(MANTISSA_BITS)
"""``2**-f`` for f in steps of 1/16 octave; 9 fraction bits, unsigned."""

_reciprocal_at = 1 + (np.arange(1 << RECIPROCAL_INDEX_BITS) + 0.5) / (1 << RECIPROCAL_INDEX_BITS)
RECIPROCAL_TABLE = np.minimum(np.round((1 << MANTISSA_BITS) / _reciprocal_at), _TOP)
RECIPROCAL_TABLE = RECIPROCAL_TABLE.astype(np.int64)
"""``1/m`` for m in [1, 2), 64 entries at interval centres; 9 fraction bits, unsigned."""

_root_at = (np.arange(1 << RSQRT_WINDOW_BITS) + 0.5) / (1 << (RSQRT_WINDOW_BITS - 2))
RSQRT_TABLE = np.minimum(np.round((1 << MANTISSA_BITS) / np.sqrt(_root_at)), _TOP)
RSQRT_TABLE = RSQRT_TABLE.astype(np.int64)
"""``1/sqrt(m)`` for m in [1, 4), addressed by m's first 7 bits (32 to 127); 9 fraction bits.

Entries below 32 are reached only by a sum of squares of zero, where any scale gives zero.
"""

SQRT_TABLE = np.minimum(np.round((1 << (MANTISSA_BITS - 1)) * np.sqrt(_root_at)), _TOP)
SQRT_TABLE = SQRT_TABLE.astype(np.int64)
"""``sqrt(m)`` for m in [1, 4), addressed like `RSQRT_TABLE`; 8 fraction bits, unsigned.

The root of zero becomes 1/8.
"""

SILU_INDEX_BITS = 9
_silu_at = (np.arange(1 << SILU_INDEX_BITS) + 0.25) / (1 << SILU_FRACTION - 1)
SILU_TABLE = np.round(_silu_at / (1 + np.exp(_silu_at)) * (1 << SILU_RESULT_FRACTION))
SILU_TABLE = SILU_TABLE.astype(np.int64)
"""``|x| / (1 + exp|x|)`` for |x| below 8 in steps of 1/64, 10 fraction bits: relu(x) less SiLU."""

PHASE_BITS, SPEED_FRACTION = 12, 24
"""Bits of a phase, in fractions of a turn, and of a speed, in turns per position."""

_turn = np.arange(1 << PHASE_BITS) * (2 * np.pi / (1 << PHASE_BITS))
SINE_TABLE = np.round(np.sin(_turn) * ((1 << ROTARY_FRACTION) - 1)).astype(np.int64)
"""Sine at every phase; hardware holds a quarter of it."""


@cache
def noise_entries(bits: int) -> Integers:
    """Return Gumbel noise ``-ln(-ln u)`` at ``2**bits`` equally likely u: Q5.7, 12 bits."""
    uniform = (np.arange(1 << bits) + 0.5) / (1 << bits)
    return np.round(-np.log(-np.log(uniform)) * (1 << LOGIT_FRACTION)).astype(np.int64)


NOISE_INDEX_BITS = 10
NOISE_TABLE = noise_entries(NOISE_INDEX_BITS)
"""Noise at 1,024 u."""


def exp2_negative(distance: ArrayLike, entries: Integers = EXP2_TABLE) -> Integers:
    """Return ``2**-distance`` for a distance in sixteenths of an octave; floor.

    The result has the format of `entries` (Q0.9 unless others are given): no more than 63 bits, so
    that larger distances give 0.
    """
    distance = np.asarray(distance, dtype=np.int64)
    octaves = np.minimum(distance >> SCORE_FRACTION, 63)
    return entries[distance & ((1 << SCORE_FRACTION) - 1)] >> octaves


def reciprocal(value: ArrayLike) -> tuple[Integers, Integers]:
    """Return m and p with ``1/value`` close to ``m * 2**-(MANTISSA_BITS + p)``.

    `value` is a positive integer; the exponent p is the position of its leading one.
    """
    value = np.asarray(value, dtype=np.int64)
    exponent = _leading_one(value)
    index = ((value << RECIPROCAL_INDEX_BITS) >> exponent) & ((1 << RECIPROCAL_INDEX_BITS) - 1)
    return RECIPROCAL_TABLE[index], exponent


def rsqrt(value: ArrayLike) -> tuple[Integers, Integers]:
    """Return m and k with ``value**-0.5`` close to ``m * 2**-(MANTISSA_BITS + k)``.

    `value` is a non-negative integer; k is half the (even) position of its leading pair of bits.
    """
    index, exponent = _root_window(value)
    return RSQRT_TABLE[index], exponent


def sqrt(value: ArrayLike) -> tuple[Integers, Integers]:
    """Return m and k with ``value**0.5`` close to ``m * 2**(k - MANTISSA_BITS + 1)``.

    `value` and k are as in `rsqrt`.
    """
    index, exponent = _root_window(value)
    return SQRT_TABLE[index], exponent


def silu(argument: ArrayLike) -> Integers:
    """Return ``x / (1 + exp(-x))``: relu(x) less an even function that vanishes far from zero.

    The argument is Q4.7 (12 bits), the result Q4.10 (15 bits).
    """
    argument = np.asarray(argument, dtype=np.int64)
    index = np.minimum(np.abs(argument) >> 1, (1 << SILU_INDEX_BITS) - 1)
    return (np.maximum(argument, 0) << SILU_RESULT_FRACTION - SILU_FRACTION) - SILU_TABLE[index]


def rotation(position: ArrayLike, speeds: Integers) -> tuple[Integers, Integers]:
    """Return cosine and sine of every pair's angle: ``[..., pairs]``, ``ROTARY_FRACTION`` bits.

    Parameters
    ----------
    position
        Integers of any shape.
    speeds
        Turns per position, ``SPEED_FRACTION`` fraction bits: :func:`rotary_speeds`.
    """
    turns = np.multiply.outer(np.asarray(position, np.int64), speeds)
    phase = round_shift(turns, SPEED_FRACTION - PHASE_BITS) & ((1 << PHASE_BITS) - 1)
    quarter = 1 << PHASE_BITS - 2
    return SINE_TABLE[phase + quarter & ((1 << PHASE_BITS) - 1)], SINE_TABLE[phase]


def rotary_speeds(head_width: int, base: float) -> Integers:
    """Return the turns per position of every pair, `SPEED_FRACTION` fraction bits: [pairs]."""
    turns = positions.angles(1, head_width, base) / (2 * np.pi)
    return np.rint(turns * (1 << SPEED_FRACTION)).astype(np.int64)


def softmax_limit(context: int) -> int:
    """Return the largest possible sum of softmax numerators over `context` positions."""
    return context * int(EXP2_TABLE[0])


def _root_window(value: ArrayLike) -> tuple[Integers, Integers]:
    """Return the address in both tables of roots, and half the position of the leading pair."""
    value = np.asarray(value, dtype=np.int64)
    exponent = _leading_one(np.maximum(value, 1)) >> 1
    return (value << (RSQRT_WINDOW_BITS - 2)) >> (2 * exponent), exponent


def _leading_one(value: Integers) -> Integers:
    """Return the position of the most significant one of positive integers below 2**53."""
    return np.frexp(value.astype(np.float64))[1].astype(np.int64) - 1


assert EXP2_TABLE.max() < 1 << (ACTIVATION_BITS - 1), "numerators are non-negative activations"
