"""The Llama family in real numbers, against a forward pass on lists, written from its equations."""

import cmath
import math
from operator import add, mul

import numpy as np
import pytest

from gptloom.model.checkpoint import Checkpoint
from gptloom.model.config import ModelConfig
from gptloom.model.errors import UserError
from gptloom.model.float_model import Cache, FloatModel
from gptloom.model.merged import quantise as merged
from gptloom.model.network import network
from gptloom.model.sites import Kind
from gptloom.model.tokenizers.characters import Characters

LLAMA = dict(family="llama", positions="rotary")
TIED = ModelConfig(2, 16, 4, 20, 12, 9, **LLAMA, kv_heads=2, tied=True)
UNTIED = ModelConfig(1, 12, 2, 16, 10, 7, **LLAMA, head_dim=4, theta=500.0, epsilon=1e-3)
SHARED = ModelConfig(1, 16, 8, 24, 8, 5, **LLAMA, kv_heads=1)
SHAPES = [TIED, UNTIED, SHARED]


def random_weights(config, seed=0):
    random = np.random.default_rng(seed)
    shapes = config.weight_shapes()
    return {name: random.normal(0, 0.5, shape) for name, shape in shapes.items()}


def dot(one, other):
    return sum(map(mul, one, other))


def times(matrix, vector):
    return [dot(row, vector) for row in matrix]


def norm(x, epsilon):
    scale = (sum(value * value for value in x) / len(x) + epsilon) ** -0.5
    return [value * scale for value in x]


def heads_of(vector, count):
    size = len(vector) // count
    return [vector[i * size : (i + 1) * size] for i in range(count)]


def turned(head, position, theta):
    """Return a head's pairs as complex numbers, each turned by its angle."""
    size = len(head)
    pairs = [complex(*head[i : i + 2]) for i in range(0, size, 2)]
    return [
        pair * cmath.exp(1j * position * theta ** (-2 * i / size)) for i, pair in enumerate(pairs)
    ]


def scalar_logits(config, weights, tokens):
    """Return the logits after each token, one multiplication at a time."""
    w = {name: value.tolist() for name, value in weights.items()}
    size, cached = config.head_width, config.kv_heads or config.heads
    keys, values = ([[] for _ in range(config.layers)] for _ in range(2))
    answer = []
    for position, token in enumerate(tokens):
        x = list(w["wte"][token])
        for layer in range(config.layers):
            named = {n.partition(".")[2]: m for n, m in w.items() if n.startswith(f"layer{layer}.")}
            normed = norm(x, config.epsilon)
            q = heads_of(times(named["attn_wq"], normed), config.heads)
            k = heads_of(times(named["attn_wk"], normed), cached)
            keys[layer].append([turned(head, position, config.theta) for head in k])
            values[layer].append(heads_of(times(named["attn_wv"], normed), cached))
            attended = []
            for head, query in enumerate(q):
                query = turned(query, position, config.theta)
                served_by = head * cached // config.heads
                scores = [
                    dot(query, [pair.conjugate() for pair in key[served_by]]).real / math.sqrt(size)
                    for key in keys[layer]
                ]
                powers = [math.exp(score - max(scores)) for score in scores]
                for i in range(size):
                    column = [value[served_by][i] for value in values[layer]]
                    attended.append(dot(powers, column) / sum(powers))
            x = list(map(add, x, times(named["attn_wo"], attended)))
            normed = norm(x, config.epsilon)
            gate, up = times(named["mlp_gate"], normed), times(named["mlp_up"], normed)
            hidden = list(map(mul, [g / (1 + math.exp(-g)) for g in gate], up))
            x = list(map(add, x, times(named["mlp_down"], hidden)))
        final = norm(x, config.epsilon)
        if "final_gain" in w:
            final = list(map(mul, final, w["final_gain"][0]))
        answer.append(times(w.get("lm_head", w["wte"]), final))
    return answer


@pytest.fixture(params=SHAPES, ids=["tied", "untied", "one head of keys"])
def config(request):
    return request.param


@pytest.fixture
def tokens(config):
    return np.random.default_rng(1).integers(0, config.vocabulary, config.context)


def test_whole_sequences_follow_the_equations(config, tokens):
    weights = random_weights(config)
    expected = scalar_logits(config, weights, tokens.tolist())
    batch = np.stack([tokens[::-1], tokens])
    np.testing.assert_allclose(FloatModel(config, weights).logits(batch)[1], expected, atol=1e-9)


def test_steps_follow_the_equations(config, tokens):
    weights = random_weights(config)
    expected = scalar_logits(config, weights, tokens.tolist())
    model, cache = FloatModel(config, weights), Cache(config)
    steps = [model.step(token, position, cache) for position, token in enumerate(tokens)]
    np.testing.assert_allclose(steps, expected, atol=1e-9)


def test_scores_depend_on_distances_alone():
    """The last logits stay when a window moves along equal tokens of a single layer."""
    model = FloatModel(SHARED, random_weights(SHARED))
    early = model.logits(np.array([[1, 2, 3]]))[0, -1]
    late = model._run(np.array([[1, 2, 3]]), np.array([40, 41, 42]), lambda _, rows: rows)[0, -1]
    np.testing.assert_allclose(late, early, atol=1e-9)


def test_the_tensors_are_those_of_a_checkpoint_with_folded_gains():
    shapes = TIED.weight_shapes()
    assert shapes["layer1.attn_wk"] == shapes["layer1.attn_wv"] == (8, 16)
    assert shapes["layer0.mlp_gate"] == shapes["layer0.mlp_up"] == (20, 16)
    assert shapes["final_gain"] == (1, 16)
    assert "lm_head" not in shapes
    assert UNTIED.weight_shapes()["layer0.attn_wq"] == (8, 12)
    assert UNTIED.weight_shapes()["lm_head"] == (7, 12)
    stories = ModelConfig(5, 64, 8, 172, 512, 512, **LLAMA, kv_heads=4, tied=True)
    assert stories.parameters == 260_032 - 10 * 64 - 64 + 64
    assert network(TIED).of_kind(Kind.NORM).gain.name == "final_gain"


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (LLAMA | dict(heads=4, kv_heads=3), "4 heads cannot share 3 heads"),
        (LLAMA | dict(kv_heads=0), "kv_heads is 0"),
        (LLAMA | dict(head_dim=3), "give an even number"),
        (LLAMA | dict(head_dim=True), "head_dim is True"),
        (LLAMA | dict(theta=0.0), "theta is 0.0"),
        (LLAMA | dict(theta=float("nan")), "theta is nan"),
        (LLAMA | dict(epsilon=-1.0), "epsilon is -1.0"),
        (dict(family="llama"), "has rotary positions"),
        (dict(positions="rotary"), "neither rotary positions nor"),
        (dict(tied=True), "give the family llama"),
        (dict(family="gpt-2"), "microgpt or llama"),
    ],
)
def test_shapes_that_cannot_be_are_refused(options, fault):
    with pytest.raises(UserError, match=fault):
        ModelConfig(**options)


def test_the_merged_form_refuses_the_family():
    rows = np.zeros((2, TIED.context + 1), np.int16)
    checkpoint = Checkpoint(TIED, Characters("abcdefgh"), random_weights(TIED), rows)
    with pytest.raises(UserError, match="does not compute the family llama"):
        merged.quantise(checkpoint)


def test_survives_json_form():
    for config in SHAPES:
        described = config.to_dict()
        assert ModelConfig.from_dict(described) == config
        assert described["family"] == "llama"
