"""Every table against the function that it approximates."""

import numpy as np
import pytest

from gptloom.model.arithmetic import ACTIVATION_BITS, LOGIT_FRACTION, MANTISSA_BITS
from gptloom.model.tables import (
    EXP2_TABLE,
    NOISE_BITS,
    NOISE_TABLE,
    RECIPROCAL_TABLE,
    RSQRT_TABLE,
    SQRT_TABLE,
    exp2_negative,
    reciprocal,
    rsqrt,
    softmax_limit,
    sqrt,
)

LONGEST = 1024
"""Maximum inputs of a dot product, and maximum positions."""


def real(scale):
    mantissa, exponent = scale
    return mantissa * 2.0 ** -(MANTISSA_BITS + exponent)


def test_exp2_over_all_distances():
    # Distances between the largest and the smallest score, 10 bits each.
    distance = np.arange(1 << ACTIVATION_BITS)
    numerators = exp2_negative(distance)
    exact = 511 * 2.0 ** (-distance / 16)
    # The table adds half a unit of error, the shift less than one.
    assert np.abs(numerators - exact).max() <= 1.5
    assert numerators[0] == 511
    assert (np.diff(numerators) <= 0).all()
    assert (numerators >= 0).all()
    assert numerators[-1] == 0


def test_reciprocal_over_all_softmax_sums():
    # The largest score contributes 511, so no sum is smaller.
    total = np.arange(511, softmax_limit(LONGEST) + 1)
    error = np.abs(real(reciprocal(total)) * total - 1)
    # 64 intervals: half of 1/64 at the left end, and the rounding of a 9-bit mantissa.
    assert error.max() < 1 / 128 + 1 / 512
    assert error.mean() < 0.004


@pytest.mark.parametrize("value", [1, 2, 3, 255, 256, 511, 512, 513])
def test_reciprocal_of_small_integers(value):
    assert real(reciprocal(value)) * value == pytest.approx(1, abs=1 / 128 + 1 / 512)


def sums_of_squares():
    # Up to 1,024 elements of 10 bits; all small ones and a dense sample of the others.
    largest = LONGEST << (2 * (ACTIVATION_BITS - 1))
    return np.unique(np.r_[1:100_000, np.geomspace(1e5, largest, 400_000).astype(np.int64)])


def root_of(total):
    mantissa, exponent = sqrt(total)
    return mantissa * 2.0 ** (exponent - MANTISSA_BITS + 1)


@pytest.mark.parametrize(
    "ratio",
    [lambda total: real(rsqrt(total)) * np.sqrt(total), lambda t: root_of(t) / np.sqrt(t)],
    ids=["rsqrt", "sqrt"],
)
def test_roots_over_the_whole_range_of_sums_of_squares(ratio):
    error = np.abs(ratio(sums_of_squares()) - 1)
    # The window is 32 to 127: half a step of 1/32, halved by the root, plus the rounding.
    assert error.max() < 1 / 128 + 1 / 512
    assert error.mean() < 0.004


def test_rsqrt_falls_and_is_defined_at_zero():
    values = real(rsqrt(np.arange(1 << 16)))
    assert (np.diff(values[1:]) <= 0).all()
    assert np.isfinite(values[0])


def test_sqrt_rises_and_is_small_at_zero():
    values = root_of(np.arange(1 << 16))
    assert (np.diff(values) >= 0).all()
    assert 0 < values[0] < 0.5


def test_noise_is_the_quantile_function_of_gumbel():
    assert len(NOISE_TABLE) == 1024
    uniform = np.exp(-np.exp(-NOISE_TABLE / 2.0**LOGIT_FRACTION))
    # Entries are rounded to 1/128, where the distribution function rises by at most 1/e.
    assert np.abs(uniform - (np.arange(1024) + 0.5) / 1024).max() < 0.5 / 128 / np.e + 1e-9
    assert (np.diff(NOISE_TABLE) >= 0).all()
    assert np.mean(NOISE_TABLE) / 128 == pytest.approx(np.euler_gamma, abs=0.002)
    assert np.abs(NOISE_TABLE).max() < 1 << (NOISE_BITS - 1)


@pytest.mark.parametrize("table", [EXP2_TABLE, RECIPROCAL_TABLE, RSQRT_TABLE, SQRT_TABLE])
def test_entries_fit_the_scale_multiplier(table):
    assert table.min() >= 0
    assert table.max() < 1 << MANTISSA_BITS


def test_mantissas_that_are_used_are_at_least_a_half():
    assert EXP2_TABLE.min() >= 256
    assert RECIPROCAL_TABLE.min() >= 256
    assert RSQRT_TABLE[32:].min() >= 256
    assert SQRT_TABLE[32:].min() >= 256
