"""The float model against a forward pass on lists, written from microGPT's equations."""

import math

import numpy as np
import pytest

from gptloom.model.config import ModelConfig
from gptloom.model.errors import UserError
from gptloom.model.float_model import Cache, FloatModel
from gptloom.model.tokenizer import PADDING

ALIBI = ModelConfig(layers=2, context=20, positions="alibi")
SHAPES = [ModelConfig.MICROGPT, ModelConfig.GATEGPT, ModelConfig.TWO_LAYER, ALIBI]


def random_weights(config, seed=0):
    random = np.random.default_rng(seed)
    # Large enough for attention to be far from uniform.
    return {
        name: random.normal(0, 0.4, shape).astype(np.float32)
        for name, shape in config.weight_shapes().items()
    }


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def times(matrix, vector):
    return [dot(row, vector) for row in matrix]


def add(a, b):
    return [x + y for x, y in zip(a, b, strict=True)]


def norm(x):
    scale = (dot(x, x) / len(x) + 1e-5) ** -0.5
    return [value * scale for value in x]


def softmax(x):
    top = max(x)
    powers = [math.exp(value - top) for value in x]
    return [power / sum(powers) for power in powers]


def scalar_logits(config, weights, tokens):
    """Return the logits after each token, one multiplication at a time."""
    w = {name: value.tolist() for name, value in weights.items()}
    size = config.width // config.heads
    keys = [[] for _ in range(config.layers)]
    values = [[] for _ in range(config.layers)]
    answer = []
    for position, token in enumerate(tokens):
        embedding = w["wte"][token]
        x = norm(add(embedding, w["wpe"][position]) if "wpe" in w else embedding)
        for layer in range(config.layers):
            normed = norm(x)
            q = times(w[f"layer{layer}.attn_wq"], normed)
            keys[layer].append(times(w[f"layer{layer}.attn_wk"], normed))
            values[layer].append(times(w[f"layer{layer}.attn_wv"], normed))
            attended = []
            for start in range(0, config.width, size):
                head = slice(start, start + size)
                scores = [dot(q[head], k[head]) / math.sqrt(size) for k in keys[layer]]
                if "wpe" not in w:
                    # Four heads keep a sixteenth, two times a quarter and a half of a position.
                    octaves = [4, 2, 2, 1][start // size]
                    distances = range(position, -1, -1)
                    scores = [
                        score - math.log(2) * distance * octaves
                        for score, distance in zip(scores, distances, strict=True)
                    ]
                share = softmax(scores)
                for i in range(start, start + size):
                    attended.append(dot(share, [v[i] for v in values[layer]]))
            x = add(x, times(w[f"layer{layer}.attn_wo"], attended))
            u = [max(0.0, value) for value in times(w[f"layer{layer}.mlp_fc1"], norm(x))]
            x = add(x, times(w[f"layer{layer}.mlp_fc2"], u))
        answer.append(times(w["lm_head"], x))
    return answer


@pytest.fixture(params=SHAPES, ids=["microgpt", "gategpt", "two-layer", "alibi"])
def config(request):
    return request.param


@pytest.fixture
def tokens(config):
    return np.random.default_rng(1).integers(0, config.vocabulary, config.context)


def test_whole_sequences_follow_the_equations(config, tokens):
    weights = random_weights(config)
    expected = scalar_logits(config, weights, tokens.tolist())
    batch = np.stack([tokens[::-1], tokens])
    np.testing.assert_allclose(
        FloatModel(config, weights).logits(batch)[1], expected, atol=1e-5, rtol=0
    )


def test_steps_follow_the_equations(config, tokens):
    weights = random_weights(config)
    expected = scalar_logits(config, weights, tokens.tolist())
    model, cache = FloatModel(config, weights), Cache(config)
    steps = [model.step(token, position, cache) for position, token in enumerate(tokens)]
    np.testing.assert_allclose(steps, expected, atol=1e-5, rtol=0)


def test_loss_counts_every_prediction_once(config):
    weights = random_weights(config)
    rows = np.full((3, config.context + 1), PADDING, dtype=np.int16)
    rows[0, :4] = [26, 3, 5, 26]
    rows[1, :2] = [26, 26]
    rows[2] = np.arange(config.context + 1) + 4
    surprises = []
    for row in rows.tolist():
        document = [token for token in row if token != PADDING]
        for logits, target in zip(
            scalar_logits(config, weights, document[:-1]), document[1:], strict=True
        ):
            surprises.append(-math.log(softmax(logits)[target]))
    assert len(surprises) == 3 + 1 + config.context
    loss = FloatModel(config, weights).loss(rows)
    assert loss == pytest.approx(sum(surprises) / len(surprises), abs=1e-9)


def test_loss_does_not_depend_on_how_documents_are_batched():
    config = ModelConfig()
    model = FloatModel(config, random_weights(config))
    rows = np.random.default_rng(2).integers(0, 27, (1500, 17)).astype(np.int16)
    parts = [model.loss(rows[start : start + 100]) for start in range(0, 1500, 100)]
    assert model.loss(rows) == pytest.approx(np.mean(parts), abs=1e-9)


def test_positions_outside_the_context_are_refused():
    model = FloatModel(ModelConfig(), random_weights(ModelConfig()))
    with pytest.raises(UserError, match="context of 16"):
        model.logits(np.zeros((1, 17), dtype=int))
    with pytest.raises(UserError, match="Position 16"):
        model.step(0, 16, Cache(model.config))


def test_alibi_has_no_last_position():
    model = FloatModel(ALIBI, random_weights(ALIBI))
    tokens = np.random.default_rng(3).integers(0, 27, (1, 50))
    expected = scalar_logits(ALIBI, random_weights(ALIBI), tokens[0].tolist())
    np.testing.assert_allclose(model.logits(tokens)[0], expected, atol=1e-5, rtol=0)


def test_wrong_weights_are_named():
    weights = random_weights(ModelConfig())
    with pytest.raises(UserError, match=r"wpe.*\(16, 16\).*\(8, 16\)"):
        FloatModel(ModelConfig(context=8), weights)
    del weights["layer0.attn_wo"]
    with pytest.raises(UserError, match=r"layer0\.attn_wo is missing"):
        FloatModel(ModelConfig(), weights)
