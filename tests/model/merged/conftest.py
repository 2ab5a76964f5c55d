"""Merged integer models, shipped and random."""

import functools

import numpy as np
import pytest

from gptloom.model.checkpoint import Checkpoint, load_checkpoint, shipped_checkpoints
from gptloom.model.config import ModelConfig
from gptloom.model.merged.quantise import quantise
from gptloom.model.tokenizer import Tokenizer


def make_random_checkpoint(config, size=0.4, seed=0):
    random = np.random.default_rng(seed)
    weights = {
        name: random.normal(0, size, shape).astype(np.float32)
        for name, shape in config.weight_shapes().items()
    }
    rows = random.integers(0, config.vocabulary, (32, config.context + 1)).astype(np.int16)
    # As documents are: the special token is first and nowhere else before the end.
    rows[:, 1:-1] %= config.vocabulary - 1
    rows[:, 0] = config.vocabulary - 1
    characters = "".join(map(chr, range(0x100, 0xFF + config.vocabulary)))
    return Checkpoint(config, Tokenizer(characters), weights, rows, name="random")


@pytest.fixture(scope="session")
def random_checkpoint():
    """Make a checkpoint of random weights."""
    return make_random_checkpoint


@pytest.fixture(scope="session")
def quantised():
    """Quantise a shipped checkpoint, once for all tests of the session."""
    return functools.cache(lambda name, widths=None: quantise(load_checkpoint(name), widths))


@pytest.fixture(scope="session", params=shipped_checkpoints())
def shipped(request, quantised):
    """Every shipped model, 8-bit."""
    return quantised(request.param)


SHAPES = [
    ModelConfig(),
    ModelConfig(width=24, hidden=96),
    ModelConfig(width=8, heads=1, hidden=20, context=5, vocabulary=11),
    ModelConfig(width=12, heads=4, hidden=7, context=40, vocabulary=30),
    ModelConfig(layers=3, width=8, heads=2, hidden=20, context=9, vocabulary=11),
]


@pytest.fixture(scope="session", params=SHAPES, ids=str)
def random_model(request):
    """Models of random weights and several shapes."""
    return quantise(make_random_checkpoint(request.param))
