"""Sampling equals the model's: noise in order, the first of equals, greedy without noise."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptloom.firmware.machine import LANES, Machine
from gptloom.hdl.folded.noise import Noise
from gptloom.hdl.folded.sampler import Sampler
from gptloom.model import sampling
from gptloom.model.arithmetic import LOGIT_BITS
from gptloom.model.config import ModelConfig

LOW, HIGH = -(1 << (LOGIT_BITS - 1)), (1 << (LOGIT_BITS - 1)) - 1


class Sampling:
    """A sampler, and logits as they come from the write-back."""

    def __init__(self, bench, lanes, vocabulary, largest=None):
        self.machine = Machine.for_models(lanes, ModelConfig(vocabulary=largest or vocabulary))
        self.vocabulary = vocabulary
        self.block = bench(Sampler(self.machine))
        self.block.set(last_token=vocabulary - 1)

    def load(self, seed):
        self.block.set(load=1, seed=seed)
        self.block.step()
        self.block.set(load=0)
        self.refill()

    def refill(self):
        # One cycle per value and two more; the first cycle is already over.
        self.block.step(self.vocabulary + 2)

    def token(self, logits, gaps=()):
        """Deliver logits, with other results in the gaps; return the token when it is due."""
        m = self.machine
        gaps = iter(gaps)
        for index in range(0, self.vocabulary, m.writers):
            for _ in range(next(gaps, 0)):
                self.deliver({"enable": 1, "to": {"norm": 1}, "values": [HIGH]})
                self.deliver({"enable": 0, "to": {"sampler": 1}, "last": 1})
            enable = [index + i < self.vocabulary for i in range(m.writers)]
            # Rows that do not exist are products of padding, and may be any number.
            values = [int(logits[index + i]) if on else HIGH for i, on in enumerate(enable)]
            result = {
                "enable": sum(1 << i for i, on in enumerate(enable) if on),
                "index": index,
                "last": index + m.writers >= self.vocabulary,
                "to": {"sampler": 1},
                "values": values,
            }
            self.deliver(result)
        self.block.set(i__beat={})
        for _ in range(Sampler.latency - 1):
            assert not self.block.get("done")
            self.block.step()
        assert self.block.get("done")
        token = self.block.get("token")
        self.block.step()
        assert not self.block.get("done")
        self.refill()
        assert self.block.get("token") == token, "the token has to stay until the next one"
        return token

    def deliver(self, result):
        self.block.set(i__beat=result)
        assert not self.block.get("done")
        self.block.step()


# 27 is not a multiple of the beats' four, 28 is; hardware for 64 also runs a model of 27.
SHAPES = [*((lanes, 27, None) for lanes in LANES), (64, 28, None), (32, 26, 64), (16, 2, None)]


@pytest.fixture(params=SHAPES, ids=str, scope="module")
def sampler(request, bench):
    return Sampling(bench, *request.param)


def noise_of(seed, vocabulary):
    values = sampling.noise(seed)
    while True:
        yield np.array([next(values) for _ in range(vocabulary)])


def test_tokens_of_random_logits_follow_the_models_noise(sampler):
    draw = np.random.default_rng(1)
    sampler.block.set(greedy=0)
    for seed in (42, 2**32 - 1):
        sampler.load(seed)
        noise = noise_of(seed, sampler.vocabulary)
        for _ in range(12):
            # Logits with about the noise's own spread, so that the noise decides.
            logits = draw.integers(-300, 300, sampler.vocabulary)
            gaps = draw.choice([0, 0, 2], sampler.vocabulary)
            assert sampler.token(logits, gaps) == sampling.draw(logits, next(noise))


def test_extreme_logits_with_noise_do_not_wrap(sampler):
    sampler.block.set(greedy=0)
    sampler.load(9)
    noise = noise_of(9, sampler.vocabulary)
    for fill in (LOW, HIGH, 0):
        logits = np.full(sampler.vocabulary, fill)
        assert sampler.token(logits) == sampling.draw(logits, next(noise))


def test_greedy_takes_the_first_of_the_largest(sampler):
    sampler.block.set(greedy=1)
    size = sampler.vocabulary
    for one, other in itertools.product((0, 1, size // 2, size - 1), repeat=2):
        for background in (LOW, -5, 99):
            logits = np.full(size, background)
            logits[[one, other]] = 100
            assert sampler.token(logits) == min(one, other)
    assert sampler.token(np.full(size, LOW)) == 0
    assert sampler.token(np.arange(size) - 50) == size - 1


def test_greedy_tokens_use_noise_up_as_well(sampler):
    # The same holds in the golden model: switching the temperature does not shift the sequence.
    sampler.load(77)
    noise = noise_of(77, sampler.vocabulary)
    logits = np.zeros(sampler.vocabulary, np.int64)
    for greedy in (0, 1, 1, 0, 1, 0):
        sampler.block.set(greedy=greedy)
        values = next(noise)
        assert sampler.token(logits) == sampling.draw(logits, 0 if greedy else values)


def test_a_new_seed_starts_the_sequence_anew(sampler):
    sampler.block.set(greedy=0)
    logits = np.zeros(sampler.vocabulary, np.int64)
    found = []
    for _ in range(2):
        sampler.load(5)
        found.append([sampler.token(logits) for _ in range(4)])
    assert found[0] == found[1]


def test_a_seed_of_zero_is_taken_as_one(sampler):
    sampler.block.set(greedy=0)
    sampler.load(0)
    noise = noise_of(1, sampler.vocabulary)
    logits = np.zeros(sampler.vocabulary, np.int64)
    for _ in range(4):
        assert sampler.token(logits) == sampling.draw(logits, next(noise))


@pytest.fixture(scope="module")
def wide(bench):
    return Sampling(bench, 64, 27)


@settings(deadline=None, derandomize=True, max_examples=50)
@given(
    logits=st.lists(st.integers(-3, 3) | st.integers(LOW, HIGH), min_size=27, max_size=27),
    seed=st.integers(1, 2**32 - 1),
)
def test_any_logits_and_seed(wide, logits, seed):
    wide.load(seed)
    values = next(noise_of(seed, 27))
    assert wide.token(logits) == sampling.draw(np.array(logits), values)


@pytest.mark.parametrize("lanes", [16, 64])
def test_noise_comes_in_the_models_order(bench, lanes):
    machine = Machine.for_models(lanes, ModelConfig())
    block = bench(Noise(machine))
    block.set(last_token=26, load=1, seed=1234)
    block.step()
    block.set(load=0)
    expected = sampling.noise(1234)
    for _ in range(5):
        block.step(27 + 2)
        block.set(restart=1)
        found = []
        for _ in range(-(-27 // machine.writers)):
            block.step()
            block.set(restart=0, next=1)
            found += list(block.get("values"))
        assert found[:27] == [next(expected) for _ in range(27)]
        block.step()
        block.set(next=0, refill=1)
        block.step()
        block.set(refill=0)


def test_the_first_token_after_power_on_may_be_of_negative_logits_only(bench):
    sampler = Sampling(bench, 16, 5)
    sampler.refill()
    logits = np.array([-3000, -2000, -1000, -2000, -3000])
    assert sampler.token(logits) == sampling.draw(logits, next(noise_of(1, 5)))
