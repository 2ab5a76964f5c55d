"""The integer operations against their definitions in fractions."""

import math
from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gptloom.model import arithmetic
from gptloom.model.arithmetic import (
    ACTIVATION_BITS,
    MANTISSA_BITS,
    PRE_SHIFT,
    SCALED_BITS,
    SCORE_SHIFT,
    UNIT_MANTISSA,
    WEIGHT_BITS,
    quantise_score,
    requantise,
    round_shift,
    saturate,
)

ACCUMULATORS = st.integers(-(1 << 27), (1 << 27) - 1)
MANTISSAS = st.integers(UNIT_MANTISSA, (1 << MANTISSA_BITS) - 1)
SHIFTS = st.integers(1, 31)
WIDTHS = st.sampled_from((WEIGHT_BITS, ACTIVATION_BITS, 16))


def clip(value, bits):
    return max(-(2 ** (bits - 1)), min(2 ** (bits - 1) - 1, value))


def half_up(value):
    return math.floor(value + Fraction(1, 2))


@given(st.integers(-(2**40), 2**40), st.integers(2, 32))
def test_saturate_is_the_nearest_number_of_that_width(value, bits):
    assert saturate(value, bits) == clip(value, bits)


@given(st.integers(-(2**50), 2**50), st.integers(0, 31))
def test_round_shift_is_division_rounded_half_up(value, shift):
    assert round_shift(value, shift) == half_up(Fraction(value, 2**shift))


@given(ACCUMULATORS, MANTISSAS, SHIFTS, WIDTHS)
def test_requantise_is_its_definition(accumulator, mantissa, shift, bits):
    scaled = clip(math.floor(Fraction(accumulator, 2**PRE_SHIFT)), SCALED_BITS)
    expected = clip(half_up(Fraction(scaled * mantissa, 2**shift)), bits)
    assert requantise(accumulator, mantissa, shift, bits) == expected


@given(
    st.integers(-(1 << (SCALED_BITS + PRE_SHIFT - 1)), (1 << (SCALED_BITS + PRE_SHIFT - 1)) - 1),
    MANTISSAS,
    SHIFTS,
)
def test_requantise_is_close_to_the_real_product(accumulator, mantissa, shift):
    real = Fraction(accumulator, 2**PRE_SHIFT) * mantissa / 2**shift
    # Half a unit of rounding, plus the bits dropped before.
    bound = Fraction(1, 2) + Fraction(mantissa, 2**shift)
    assert abs(int(requantise(accumulator, mantissa, shift, 40)) - real) <= bound


@given(ACCUMULATORS)
def test_scores_are_divided_rounded_and_clipped(accumulator):
    expected = clip(half_up(Fraction(accumulator, 2**SCORE_SHIFT)), ACTIVATION_BITS)
    assert quantise_score(accumulator) == expected


@given(st.lists(st.tuples(ACCUMULATORS, MANTISSAS, SHIFTS), min_size=1, max_size=8))
def test_arrays_are_computed_element_by_element(triples):
    columns = [np.array(column) for column in zip(*triples, strict=True)]
    expected = [int(requantise(*triple, ACTIVATION_BITS)) for triple in triples]
    assert requantise(*columns, ACTIVATION_BITS).tolist() == expected


def test_the_scale_of_one_is_one():
    values = np.arange(-400, 400)
    shift = MANTISSA_BITS - 1
    unchanged = requantise(values << PRE_SHIFT, UNIT_MANTISSA, shift, ACTIVATION_BITS)
    assert (unchanged == values).all()
    assert arithmetic.round_shift(-3, 1) == -1
    assert arithmetic.round_shift(3, 1) == 2
