"""Requantisers equal the model's, a value every cycle."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptloom.hdl.folded.requantise import CACHED, Requantise, ScoreQuantise
from gptloom.model import arithmetic
from gptloom.model.arithmetic import (
    ACTIVATION_BITS,
    LOGIT_BITS,
    MANTISSA_BITS,
    UNIT_MANTISSA,
)

BITS = 24
LIMIT = 1 << (BITS - 1)
ACCUMULATORS = st.integers(-LIMIT, LIMIT - 1) | st.integers(-40_000, 40_000)
# Every mantissa the port can take, not only those that the tables hold.
MANTISSAS = st.integers(0, (1 << MANTISSA_BITS) - 1)
# The first two are numbers of the block's narrow widths.
WIDTHS = (0, 1, ACTIVATION_BITS, LOGIT_BITS)


def scaled(case):
    accumulator, mantissa, shift, bits, relu = case
    value = int(arithmetic.requantise(accumulator, mantissa, shift, bits))
    return max(value, 0) if relu else value


def check(block, cases):
    """Drive the cases in consecutive cycles; each result appears after the stated latency."""
    widths = block.component.widths
    cases = [
        (*case[:3], widths[case[3] % len(widths)] if case[3] < 2 else case[3], case[4])
        for case in cases
    ]
    inputs = [
        {
            "i": accumulator,
            "mantissa": mantissa,
            "shift": shift - 1,
            "narrow": 1 << widths.index(bits) if bits in widths else 0,
            "wide": bits == LOGIT_BITS,
            "relu": relu,
        }
        for accumulator, mantissa, shift, bits, relu in cases
    ]
    latency = block.component.latency
    seen = block.play(inputs, ["o"], after=latency)
    assert [s["o"] for s in seen[latency:]] == [scaled(case) for case in cases]


@pytest.fixture(
    scope="module",
    params=[
        (False, CACHED),
        pytest.param((True, CACHED), marks=pytest.mark.nightly),
        pytest.param((False, (5, 7)), marks=pytest.mark.nightly),
        (True, (8, 6)),
    ],
    ids=["plain", "deep", "two widths", "deep, two widths"],
)
def block(request, bench):
    return bench(Requantise(BITS, *request.param))


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "deep"])
def score_block(request, bench):
    return bench(ScoreQuantise(BITS, request.param))


CASES = st.tuples(
    ACCUMULATORS, MANTISSAS, st.integers(1, 32), st.sampled_from(WIDTHS), st.booleans()
)


@settings(deadline=None, derandomize=True)
@given(cases=st.lists(CASES, min_size=1, max_size=40))
def test_requantise_is_the_models_back_to_back(block, cases):
    check(block, cases)


@pytest.mark.parametrize("shift", range(1, 33))
def test_corners_at_every_shift(block, shift):
    accumulators = (-LIMIT, -LIMIT + 1, -17, -16, -1, 0, 1, 15, 16, 1 << 21, LIMIT - 1)
    mantissas = (UNIT_MANTISSA, UNIT_MANTISSA + 1, 511)
    flags = [(bits, relu) for bits in WIDTHS for relu in (False, True)]
    product = itertools.product(accumulators, mantissas, flags)
    check(block, [(a, mantissa, shift, *flag) for a, mantissa, flag in product])


def test_halves_round_up(block):
    # A scale of one: the remainder of the shift is exactly one half.
    halves = [(16 * value, UNIT_MANTISSA, 9, LOGIT_BITS, False) for value in range(-7, 9, 2)]
    check(block, halves)
    assert [scaled(case) for case in halves] == [-3, -2, -1, 0, 1, 2, 3, 4]


@settings(deadline=None, derandomize=True)
@given(values=st.lists(ACCUMULATORS, min_size=1, max_size=40))
def test_score_is_the_models_back_to_back(score_block, values):
    check_scores(score_block, values)


def test_score_corners(score_block):
    halves = range(-(1 << 16) - 64, (1 << 16) + 65, 64)
    check_scores(score_block, [-LIMIT, -LIMIT + 63, LIMIT - 1, LIMIT - 64, *halves])


def check_scores(block, values):
    latency = block.component.latency
    seen = block.play([{"i": value} for value in values], ["o"], after=latency)
    expected = arithmetic.quantise_score(values).tolist()
    assert [s["o"] for s in seen[latency:]] == expected
