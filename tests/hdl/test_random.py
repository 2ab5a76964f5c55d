"""The hardware's random numbers equal the model's."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptloom.hdl.random import XorShift32
from gptloom.model.sampling import xorshift32


@pytest.fixture(scope="module")
def generator(bench):
    return bench(XorShift32())


def states(seed):
    while True:
        seed = xorshift32(seed)
        yield seed


def check(generator, seed, count):
    following = states(seed)
    generator.set(next=1)
    for _ in range(count):
        assert generator.get("o") == next(following)
        generator.step()
    generator.set(next=0)
    assert generator.get("o") == next(following)


def load(generator, seed):
    # A request to advance in the same cycle does not override the seed.
    generator.set(load=1, seed=seed, next=1)
    generator.step()
    generator.set(load=0, seed=0, next=0)


def test_powers_up_at_one(bench):
    check(bench(XorShift32()), 1, 50)


@settings(deadline=None, derandomize=True)
@given(seed=st.integers(1, 2**32 - 1))
def test_follows_the_model_from_any_seed(generator, seed):
    load(generator, seed)
    check(generator, seed, 20)


def test_a_seed_of_zero_is_taken_as_one(generator):
    load(generator, 0)
    check(generator, 1, 500)


def test_stands_still_without_next(generator):
    load(generator, 42)
    generator.step(10)
    check(generator, 42, 3)


def test_never_zero(generator):
    load(generator, 0x8000_0001)
    generator.set(next=1)
    for _ in range(3000):
        assert generator.get("o") != 0
        generator.step()
    generator.set(next=0)
