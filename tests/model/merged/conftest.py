"""Merged integer models, shipped and random."""

import functools

import pytest
from checkpoints import make_random_checkpoint

from gptloom.model.checkpoint import load_checkpoint, shipped_checkpoints
from gptloom.model.config import ModelConfig
from gptloom.model.merged.quantise import quantise


@pytest.fixture(scope="session")
def random_checkpoint():
    """Make a checkpoint with random weights."""
    return make_random_checkpoint


@pytest.fixture(scope="session")
def quantised():
    """Quantise a shipped checkpoint, once for all tests of the session."""
    return functools.cache(lambda name, widths=None: quantise(load_checkpoint(name), widths))


@pytest.fixture(scope="session", params=shipped_checkpoints())
def shipped(request, quantised):
    """Return every shipped model, with 8-bit weights."""
    return quantised(request.param)


SHAPES = [
    ModelConfig(),
    ModelConfig(width=24, hidden=96),
    ModelConfig(width=8, heads=1, hidden=20, context=5, vocabulary=11),
    ModelConfig(width=12, heads=4, hidden=7, context=40, vocabulary=30),
    ModelConfig(layers=3, width=8, heads=2, hidden=20, context=9, vocabulary=11),
    ModelConfig(layers=2, width=8, heads=2, hidden=12, context=9, vocabulary=7, positions="alibi"),
]


@pytest.fixture(scope="session", params=SHAPES, ids=str)
def random_model(request):
    """Return models with random weights, of several shapes."""
    return quantise(make_random_checkpoint(request.param))
