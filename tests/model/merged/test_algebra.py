"""The merged form against the float model: the same function, to double precision."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptloom.model.checkpoint import load_checkpoint, shipped_checkpoints
from gptloom.model.config import ModelConfig
from gptloom.model.float_model import FloatModel
from gptloom.model.merged.algebra import (
    ENTRIES,
    LATER_MATRICES,
    MATRICES,
    MergedFloat,
    entry_sizes,
    merge,
)
from gptloom.model.positions import Positions


def random_weights(config, seed):
    random = np.random.default_rng(seed)
    return {name: random.normal(0, 0.4, shape) for name, shape in config.weight_shapes().items()}


def assert_equal_to_the_float_model(config, weights, tokens):
    expected = FloatModel(config, weights).logits(tokens)
    merged = MergedFloat(merge(config, weights)).logits(tokens)
    np.testing.assert_allclose(merged, expected, rtol=0, atol=1e-12 * np.abs(expected).max())


@pytest.mark.parametrize("name", [*shipped_checkpoints(), *shipped_checkpoints("alibi")])
def test_shipped_checkpoints_stay_the_same(name):
    checkpoint = load_checkpoint(name)
    weights = {key: value.astype(np.float64) for key, value in checkpoint.weights.items()}
    tokens = np.maximum(checkpoint.calibration[:64, :-1], 0)
    assert_equal_to_the_float_model(checkpoint.config, weights, tokens)


@st.composite
def shapes(draw):
    heads = draw(st.sampled_from([1, 2, 4]))
    return ModelConfig(
        layers=draw(st.integers(1, 3)),
        width=heads * draw(st.integers(1, 5)),
        heads=heads,
        hidden=draw(st.integers(1, 20)),
        context=draw(st.integers(2, 9)),
        vocabulary=draw(st.integers(2, 12)),
        positions=draw(st.sampled_from((Positions.LEARNED, Positions.ALIBI))),
    )


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(shapes(), st.integers(0, 2**32 - 1))
def test_every_shape_stays_the_same(config, seed):
    tokens = np.random.default_rng(seed).integers(0, config.vocabulary, (3, config.context))
    assert_equal_to_the_float_model(config, random_weights(config, seed), tokens)


def test_there_are_two_dense_products_in_the_chain_of_a_layer():
    config = ModelConfig(layers=2, width=8, heads=2, hidden=12, context=5, vocabulary=7)
    merged = merge(config, random_weights(config, 1))
    # Layer 1's q, k, v and x are the outputs of layer 0.
    outputs = 4 * 8
    assert {name: rows.shape for name, rows in merged.table.items()} == {
        name: (7, 5, size) for name, size in entry_sizes(config, 0).items()
    }
    assert entry_sizes(config, 0) == dict(zip(ENTRIES, (8, 8, 8, 8, 12, outputs), strict=True))
    shapes = [{name: value.shape for name, value in layer.items()} for layer in merged.layers]
    assert shapes == [
        {"a1": (12, 8), "a2": (outputs, 8), "wo": (8, 8), "b": (outputs, 12)},
        {"a1": (12, 8), "a2": (7, 8), "wo": (8, 8), "b": (7, 12), "f": (12, 8), "d": (7, 8)},
    ]
    assert [tuple(layer) for layer in merged.layers] == [MATRICES, LATER_MATRICES]


@pytest.mark.parametrize(("layers", "weights", "words"), [(1, 3440, 155), (2, 11296, 192)])
def test_microgpt_has_as_many_constants_as_stated(layers, weights, words):
    config = ModelConfig(layers=layers)
    merged = merge(config, random_weights(config, 1))
    assert sum(matrix.size for layer in merged.layers for matrix in layer.values()) == weights
    assert sum(rows.shape[-1] for rows in merged.table.values()) == words
