"""Matrices rounded so that their products with real inputs change little."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptloom.model.rounding import round_for_inputs

LIMIT = 127


def make(seed, outputs=12, inputs=16, samples=400):
    """Return a matrix, and inputs most of whose variance lies in a few directions."""
    draw = np.random.default_rng(seed)
    directions = draw.normal(size=(3, inputs))
    factors = draw.normal(size=(samples, 3)) @ directions + 0.1 * draw.normal(
        size=(samples, inputs)
    )
    return draw.uniform(-100, 100, (outputs, inputs)), factors


def error(matrix, rounded, factors):
    return float(np.square(factors @ (matrix - rounded).T).sum())


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 1 << 30))
def test_products_with_such_inputs_change_less_than_by_rounding_alone(seed):
    matrix, factors = make(seed)
    found = round_for_inputs(matrix, factors.T @ factors, LIMIT)
    assert found.dtype == np.int64
    assert error(matrix, found, factors) < error(matrix, np.rint(matrix), factors)


def test_inputs_that_have_nothing_in_common_are_rounded_one_by_one():
    matrix, _ = make(1)
    moments = np.diag(np.arange(1.0, 17))
    assert (round_for_inputs(matrix, moments, LIMIT) == np.floor(matrix + 0.5)).all()
    # Nor does it matter that there were none.
    assert (round_for_inputs(matrix, 0 * moments, LIMIT) == np.floor(matrix + 0.5)).all()


@pytest.mark.parametrize("limit", [1, 90])
def test_integers_stay_within_their_limit(limit):
    matrix, factors = make(2)
    found = round_for_inputs(matrix, factors.T @ factors, limit)
    assert np.abs(found).max() == limit


def test_whole_numbers_stay_as_they_are():
    matrix, factors = make(3)
    whole = np.rint(matrix)
    assert (round_for_inputs(whole, factors.T @ factors, LIMIT) == whole).all()
