"""The Llama family in integers, against a forward pass on Python's integers, written out."""

import math
from dataclasses import replace

import numpy as np
import pytest

from gptloom.model import tables
from gptloom.model.config import ModelConfig
from gptloom.model.errors import UserError
from gptloom.model.float_model import FloatModel
from gptloom.model.formats import COARSE, FINE
from gptloom.model.golden import GoldenModel
from gptloom.model.loss import log_softmax
from gptloom.model.quantise import quantise
from verification.llama import make_checkpoint

LLAMA = dict(family="llama", positions="rotary")
TIED = ModelConfig(2, 16, 4, 20, 12, 9, **LLAMA, kv_heads=2, tied=True)
UNTIED = ModelConfig(1, 12, 2, 16, 10, 7, **LLAMA, head_dim=4, theta=500.0)
ALONE = ModelConfig(1, 16, 8, 24, 8, 5, **LLAMA, kv_heads=1, tied=True)
SHAPES = [TIED, UNTIED, ALONE]


def clip(value, bits):
    return max(-(1 << bits - 1), min((1 << bits - 1) - 1, value))


def rounded(value, shift):
    return (value + (1 << shift - 1)) >> shift if shift else value


def dot(one, other):
    return sum(int(a) * int(b) for a, b in zip(one, other, strict=True))


class Plain:
    """The integer model of one token after another, by the equations."""

    def __init__(self, model):
        self.m, self.c, self.p = model, model.config, model.precision
        self.keys, self.values = {}, {}

    def scaled(self, total, layer, site, row_shift, bits, mantissa=256, exponent=0):
        shift = self.m.shifts[layer, site] + int(row_shift) + exponent
        return clip(rounded(clip(total >> self.p.pre_shift, 18) * mantissa, shift), bits)

    def product(self, layer, site, name, source, bits):
        matrix = self.m.weights[f"layer{layer}.{name}"]
        shifts = self.m.row_shifts[f"layer{layer}.{name}"]
        return [
            self.scaled(dot(row, source), layer, site, shift, bits)
            for row, shift in zip(matrix, shifts, strict=True)
        ]

    def normed(self, layer, site, stream, gains=None):
        mantissa, exponent = tables.rsqrt(sum(x * x for x in stream))
        gains = [256] * len(stream) if gains is None else gains.tolist()
        return [
            self.scaled(x * g, layer, site, 0, self.p.activations, int(mantissa), int(exponent))
            for x, g in zip(stream, gains, strict=True)
        ]

    def turned(self, vector, position, bits):
        size, answer = self.c.head_width, []
        for i in range(0, len(vector), 2):
            speed = self.c.theta ** (-(i % size) / size) / (2 * math.pi)
            phase = rounded(position * round(speed * 2**24), 12) % 4096
            angle = 2 * math.pi * phase / 4096
            c, s = round(2047 * math.cos(angle)), round(2047 * math.sin(angle))
            x, y = vector[i : i + 2]
            for value in (x * c - y * s, x * s + y * c):
                answer.append(clip(rounded(value, 11 + self.p.unrotated - bits), bits))
        return answer

    def attention(self, layer, q):
        size, answer = self.c.head_width, []
        for head in range(self.c.heads):
            at = head * self.c.cached_heads // self.c.heads * size
            query = q[head * size : (head + 1) * size]
            scores = [
                clip(rounded(dot(query, key[at : at + size]), self.p.score_shift), self.p.scores)
                for key in self.keys[layer]
            ]
            powers = [
                round(511 * 2 ** (-(far % 16) / 16)) >> far // 16
                for far in (max(scores) - score for score in scores)
            ]
            mantissa, exponent = map(int, tables.reciprocal(sum(powers)))
            for element in range(at, at + size):
                total = dot(powers, [value[element] for value in self.values[layer]])
                product = clip(total >> exponent - 8, 18) * mantissa
                shift = self.m.shifts[layer, "mix"] + 8
                answer.append(clip(rounded(product, shift), self.p.activations))
        return answer

    def silu(self, x):
        near = (min(abs(x) >> 1, 511) + 0.25) / 64
        return max(x, 0) * 8 - round(near / (1 + math.exp(near)) * 1024)

    def step(self, token, position):
        m, p = self.m, self.p
        shift = m.row_shifts["wte"][token]
        x = [
            self.scaled(int(w) * 256, 0, "embedding", shift, p.stream)
            for w in m.weights["wte"][token]
        ]
        key_bits, value_bits = p.cache.widths
        for layer in range(self.c.layers):
            source = self.normed(layer, "input", x)
            q, k = (self.product(layer, n, f"attn_w{n}", source, p.unrotated) for n in ("q", "k"))
            self.keys.setdefault(layer, []).append(self.turned(k, position, key_bits))
            v = self.product(layer, "v", "attn_wv", source, value_bits)
            self.values.setdefault(layer, []).append(v)
            mix = self.attention(layer, self.turned(q, position, p.activations))
            out = self.product(layer, "out", "attn_wo", mix, p.stream)
            x = [clip(a + b, p.stream) for a, b in zip(x, out, strict=True)]
            source = self.normed(layer, "middle", x)
            gate = self.product(layer, "gate", "mlp_gate", source, 12)
            up = self.product(layer, "up", "mlp_up", source, p.activations)
            hidden = [
                clip(rounded(self.silu(g) * u, 9), p.activations)
                for g, u in zip(gate, up, strict=True)
            ]
            down = self.product(layer, "mlp", "mlp_down", hidden, p.stream)
            x = [clip(a + b, p.stream) for a, b in zip(x, down, strict=True)]
        gains = m.weights["final_gain"][0] if self.c.tied else None
        source = self.normed(0, "final", x, gains)
        return [dot(row, source) for row in m.weights["wte" if self.c.tied else "lm_head"]]


@pytest.fixture(params=SHAPES, ids=["tied", "untied", "one head of keys"])
def config(request):
    return request.param


@pytest.mark.parametrize("precision", [FINE, COARSE], ids=["J1", "J2"])
def test_every_logit_is_that_of_the_equations(config, precision):
    model = quantise(make_checkpoint(config), precision)
    golden, plain = GoldenModel(model), Plain(model)
    tokens = np.random.default_rng(3).integers(0, config.vocabulary, config.context)
    expected = [plain.step(int(token), i) for i, token in enumerate(tokens)]
    assert golden.logits(tokens[None])[0].tolist() == expected
    cache = golden.new_cache()
    steps = [golden.step(tokens[[i]], i, cache)[0].tolist() for i in range(len(tokens))]
    assert steps == expected
    # The sampler's logits count the shifts of the classifier's rows.
    scale = model.logit_scale(1.0)
    shifts = model.row_shifts["wte" if config.tied else "lm_head"].tolist()
    scaled = [
        clip(rounded(clip(a >> precision.pre_shift, 18) * scale.mantissa, scale.shift + s), 16)
        for a, s in zip(expected[-1], shifts, strict=True)
    ]
    assert golden.scaled_logits(np.array(expected[-1]), scale).tolist() == scaled


@pytest.mark.parametrize(("precision", "most"), [(FINE, 0.002), (COARSE, 0.02)])
def test_it_says_what_the_float_model_says(config, precision, most):
    checkpoint = make_checkpoint(config, seed=5)
    model = quantise(checkpoint, precision)
    tokens = np.random.default_rng(4).integers(0, config.vocabulary, (20, config.context))
    expected = log_softmax(FloatModel(config, checkpoint.weights).logits(tokens))
    found = log_softmax(GoldenModel(model).nats(tokens))
    divergence = (np.exp(expected) * (expected - found)).sum(axis=-1).mean()
    assert 0 < divergence < most


@pytest.mark.parametrize("precision", [FINE, COARSE])
def test_integers_fit_their_widths(config, precision):
    model = quantise(make_checkpoint(config), precision)
    limit = (1 << precision.weights - 1) - 1
    for name, weights in model.weights.items():
        assert limit / 2 <= np.abs(weights).max() <= limit, name
    assert all(0 <= s <= 15 for shifts in model.row_shifts.values() for s in shifts.tolist())
    assert all(1 <= shift <= 16 for shift in model.shifts.values())


def test_weights_that_are_too_large_for_the_values_around_them_are_refused():
    checkpoint = make_checkpoint(TIED)
    weights = checkpoint.weights | {"layer1.mlp_gate": checkpoint.weights["layer1.mlp_gate"] * 5000}
    with pytest.raises(UserError, match=r"the site 1.gate is computed with are too large"):
        quantise(replace(checkpoint, weights=weights))


def test_weights_that_hardly_matter_are_coarse():
    checkpoint = make_checkpoint(TIED)
    weights = checkpoint.weights | {"layer0.attn_wo": checkpoint.weights["layer0.attn_wo"] * 1e-12}
    model = quantise(replace(checkpoint, weights=weights))
    assert not model.weights["layer0.attn_wo"].any()
