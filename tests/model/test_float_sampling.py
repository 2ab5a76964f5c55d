"""Sampled documents follow the model's probabilities."""

import numpy as np

from gptloom.model.config import ModelConfig
from gptloom.model.float_model import Cache, FloatModel
from gptloom.model.float_sampling import sample_rows
from gptloom.model.tokenizer import PADDING

CONFIG = ModelConfig(1, 8, 2, 8, 4, 3)
END = 2


def model_of(config):
    random = np.random.default_rng(3)
    return FloatModel(
        config,
        {name: random.normal(0, 0.3, shape) for name, shape in config.weight_shapes().items()},
    )


def test_steps_of_many_documents_are_those_of_each_alone():
    config = ModelConfig(2, 16, 4, 20, 12, 9, family="llama", positions="rotary", kv_heads=2)
    model, tokens = model_of(config), np.random.default_rng(1).integers(0, 9, (3, 12))
    cache = Cache(config, 3)
    steps = [model.steps(tokens[:, position], position, cache) for position in range(12)]
    np.testing.assert_allclose(np.stack(steps, axis=1), model.logits(tokens), atol=1e-9)


def test_documents_are_as_frequent_as_the_model_says():
    model, count = model_of(CONFIG), 20_000
    rows = np.full((count, 5), PADDING, np.int16)
    rows[:, 0] = END
    sample_rows(model, rows, END, 4)

    def probability(document):
        logits = model.logits(np.array([document[:-1]]))[0]
        powers = np.exp(logits)
        shares = powers / powers.sum(axis=1, keepdims=True)
        return np.prod(shares[np.arange(len(document) - 1), document[1:]])

    found, frequency = np.unique(rows, axis=0, return_counts=True)
    expected = np.array([probability([t for t in row if t >= 0]) for row in found.tolist()])
    assert expected.sum() > 0.999
    # Six standard deviations of a count, and one document for the rarest.
    assert (abs(frequency - count * expected) < 6 * np.sqrt(count * expected) + 1).all()
    assert len(found) > 20
