"""Random numbers, noise and the draw."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptloom.model.arithmetic import LOGIT_FRACTION
from gptloom.model.checkpoint import load_checkpoint
from gptloom.model.errors import UserError
from gptloom.model.golden import GoldenModel
from gptloom.model.quantise import quantise
from gptloom.model.sampling import check_seed, draw, noise, xorshift32
from gptloom.model.tables import NOISE_TABLE


def matrix_of(shift, left):
    """Return `x ^ (x << shift)` or `x ^ (x >> shift)` as a matrix over GF(2), row = result bit."""
    return (
        np.eye(32, dtype=np.int64) + np.eye(32, k=-shift if left else shift, dtype=np.int64)
    ) % 2


STEP = matrix_of(5, True) @ matrix_of(17, False) @ matrix_of(13, True) % 2


def bits(value):
    return np.array([value >> position & 1 for position in range(32)])


@given(st.integers(1, 2**32 - 1))
def test_xorshift_is_linear_algebra_over_bits(state):
    assert (bits(xorshift32(state)) == STEP @ bits(state) % 2).all()


def test_xorshift_gives_the_known_sequence():
    # Marsaglia's generator with these shifts, from his seed 2463534242.
    state, states = 2463534242, []
    for _ in range(5):
        state = xorshift32(state)
        states.append(state)
    assert states == [723471715, 2497366906, 2064144800, 2008045182, 3532304609]


def test_the_generator_cannot_reach_zero():
    # The step is invertible (its determinant is odd), so only 0 leads to 0.
    reduced = STEP.copy()
    for column in range(32):
        pivot = column + int(np.argmax(reduced[column:, column]))
        assert reduced[pivot, column]
        reduced[[column, pivot]] = reduced[[pivot, column]]
        below = reduced[column + 1 :, column].astype(bool)
        reduced[column + 1 :][below] ^= reduced[column]


def test_the_period_is_as_long_as_it_can_be():
    # The order of the step divides 2**32 - 1 and none of its largest proper divisors.
    def power(exponent):
        result, square = np.eye(32, dtype=np.int64), STEP
        while exponent:
            if exponent & 1:
                result = result @ square % 2
            square, exponent = square @ square % 2, exponent >> 1
        return result

    one, period = np.eye(32, dtype=np.int64), 2**32 - 1
    assert (power(period) == one).all()
    for prime in (3, 5, 17, 257, 65537):
        assert (power(period // prime) != one).any()


def test_noise_reads_the_table_at_the_top_bits():
    state, expected = 12345, []
    for _ in range(100):
        state = xorshift32(state)
        expected.append(int(NOISE_TABLE[state // 2**22]))
    assert list(itertools.islice(noise(12345), 100)) == expected


@pytest.mark.parametrize("seed", [0, -1, 2**32])
def test_seeds_that_lock_up_or_do_not_fit_are_refused(seed):
    with pytest.raises(UserError, match=f"seed {seed} is not usable: choose 1 to 4294967295"):
        check_seed(seed)
    with pytest.raises(UserError):
        next(noise(seed))


@pytest.mark.parametrize("seed", [1, 2**32 - 1])
def test_the_outermost_seeds_work(seed):
    assert check_seed(seed) == seed
    assert len(set(itertools.islice(noise(seed), 200))) > 100


def test_draw_takes_the_first_of_the_largest():
    assert draw(np.array([3, 9, 9, 1]), 0) == 1
    assert draw(np.array([3, 9, 9, 1]), np.array([0, 0, 1, 0])) == 2


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_softmax(temperature):
    model = quantise(load_checkpoint("names"))
    golden = GoldenModel(model)
    start = np.full((1, 1), model.tokenizer.bos)
    logits = golden.scaled_logits(golden.logits(start)[0, 0], model.logit_scale(temperature))
    powers = np.exp((logits - logits.max()) / 2.0**LOGIT_FRACTION)
    expected = powers / powers.sum()
    draws, values = 40_000, noise(2024)
    counts = np.zeros(len(logits))
    for _ in range(draws):
        counts[draw(logits, np.array([next(values) for _ in logits]))] += 1
    distance = np.abs(counts / draws - expected).sum() / 2
    # Expected distance of 40,000 draws from the softmax itself; allow twice that plus the table's
    # share.
    chance = np.sqrt(expected * (1 - expected) / draws * 2 / np.pi).sum() / 2
    assert distance < 2 * chance + 0.003
