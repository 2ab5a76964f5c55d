"""Gains of norms, against a forward pass in which they stand where they are trained."""

import numpy as np
import pytest

from gptloom.model.config import ModelConfig
from gptloom.model.float_model import FloatModel
from gptloom.model.gains import FINAL_GAIN, folded, is_gain, ones

LLAMA = dict(family="llama", positions="rotary", vocabulary=9, context=6)
SHAPES = [
    ModelConfig(layers=2, width=8, heads=2, hidden=12, tied=tied, **LLAMA) for tied in (False, True)
]


def random_weights(config):
    random = np.random.default_rng(0)
    matrices = {n: random.normal(0, 0.5, s) for n, s in config.weight_shapes().items()}
    gains = {name: random.normal(1, 0.3, gain.shape) for name, gain in ones(config).items()}
    return {name: m for name, m in matrices.items() if not is_gain(name)} | gains


@pytest.mark.parametrize("config", SHAPES, ids=["untied", "tied"])
def test_folded_gains_are_factors_of_what_the_matrices_read(config):
    weights = random_weights(config)
    before = {name: weight.copy() for name, weight in weights.items()}
    folds = folded(weights)
    assert {name: weight.shape for name, weight in folds.items()} == config.weight_shapes()
    assert all((weights[name] == weight).all() for name, weight in before.items())

    x = np.random.default_rng(1).normal(size=config.width)
    for layer in range(config.layers):
        for gain, matrices in {
            "attn_gain": ("attn_wq", "attn_wk", "attn_wv"),
            "mlp_gain": ("mlp_gate", "mlp_up"),
        }.items():
            for name in matrices:
                name = f"layer{layer}.{name}"
                read = x * weights[f"layer{layer}.{gain}"]
                np.testing.assert_allclose(folds[name] @ x, weights[name] @ read)
        for name in ("attn_wo", "mlp_down"):
            assert (folds[f"layer{layer}.{name}"] == weights[f"layer{layer}.{name}"]).all()
    if config.tied:
        assert (folds[FINAL_GAIN][0] == weights[FINAL_GAIN]).all()
    else:
        read = x * weights[FINAL_GAIN]
        np.testing.assert_allclose(folds["lm_head"] @ x, weights["lm_head"] @ read)


@pytest.mark.parametrize("config", SHAPES, ids=["untied", "tied"])
def test_gains_of_one_change_nothing(config):
    weights = random_weights(config)
    plain = {name: weight for name, weight in weights.items() if not is_gain(name)}
    tokens = np.arange(6)[None]
    expected = plain | ({FINAL_GAIN: np.ones((1, config.width))} if config.tied else {})
    np.testing.assert_array_equal(
        FloatModel(config, folded(plain | ones(config))).logits(tokens),
        FloatModel(config, expected).logits(tokens),
    )


def test_a_microgpt_has_none():
    assert ones(ModelConfig()) == {}
