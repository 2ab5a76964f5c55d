"""A few numbers distinguish one network from others, but not one machine from another."""

from dataclasses import replace

import numpy as np
import pytest

from gptloom.model.config import ModelConfig
from gptloom.model.fingerprint import fingerprint, same_fingerprint

CONFIG = ModelConfig(layers=2, width=16, heads=4, hidden=16, context=6, vocabulary=11)


def random_weights(config, seed=0):
    random = np.random.default_rng(seed)
    return {
        name: random.normal(0, 0.4, shape).astype(np.float32)
        for name, shape in config.weight_shapes().items()
    }


def transposed(weights, name):
    return weights | {name: np.ascontiguousarray(weights[name].T)}


def exchanged(weights, one, other):
    return weights | {one: weights[other], other: weights[one]}


def row_changed(weights, name, row):
    changed = weights[name].copy()
    changed[row] *= 1.001
    return weights | {name: changed}


@pytest.mark.parametrize(
    "change",
    [
        *(
            lambda w, n=f"layer{layer}.{name}": transposed(w, n)
            for layer in range(2)
            for name in ("attn_wq", "attn_wk", "attn_wv", "attn_wo", "mlp_fc1", "mlp_fc2")
        ),
        lambda w: exchanged(w, "layer0.attn_wq", "layer0.attn_wk"),
        lambda w: exchanged(w, "layer0.mlp_fc1", "layer1.mlp_fc1"),
        lambda w: exchanged(w, "wte", "lm_head"),
        # Every row of the embeddings counts, including the last ones.
        *(lambda w, r=row: row_changed(w, "wte", r) for row in range(CONFIG.vocabulary)),
        *(lambda w, r=row: row_changed(w, "wpe", r) for row in range(CONFIG.context)),
        lambda w: w | {"lm_head": w["lm_head"][np.r_[1, 0, 2:11]]},
    ],
)
def test_other_weights_show(change):
    weights = random_weights(CONFIG)
    assert not same_fingerprint(fingerprint(CONFIG, weights), fingerprint(CONFIG, change(weights)))


def test_another_number_of_heads_shows():
    weights = random_weights(CONFIG)
    other = replace(CONFIG, heads=2)
    assert not same_fingerprint(fingerprint(CONFIG, weights), fingerprint(other, weights))


def test_another_order_of_sums_does_not_show():
    """A permutation of the first MLP matrix's output columns is the same network."""
    weights = random_weights(CONFIG)
    order = np.random.default_rng(1).permutation(CONFIG.hidden)
    same = weights | {
        "layer0.mlp_fc1": weights["layer0.mlp_fc1"][order],
        "layer0.mlp_fc2": weights["layer0.mlp_fc2"][:, order],
    }
    assert same_fingerprint(fingerprint(CONFIG, weights), fingerprint(CONFIG, same))


@pytest.mark.parametrize("other", [[], [1.0, 2.0], [1.0, 2.0, 3.0, 4.1], [np.nan] * 4])
def test_other_numbers_are_not_the_same(other):
    assert same_fingerprint([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0 + 1e-9])
    assert not same_fingerprint([1.0, 2.0, 3.0, 4.0], other)


def test_large_vocabularies_and_contexts_are_sampled():
    """The last of many tokens does not occur in the sequence, but among the predictions."""
    config = ModelConfig(width=8, heads=2, hidden=8, context=300, vocabulary=300)
    weights = random_weights(config)
    for name in ("lm_head", "layer0.attn_wo"):
        changed = row_changed(weights, name, -1)
        assert not same_fingerprint(fingerprint(config, weights), fingerprint(config, changed))
