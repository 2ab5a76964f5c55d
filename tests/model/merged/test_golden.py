"""The merged golden model against its own table of steps, computed one number at a time."""

import math

import numpy as np
import pytest

from gptloom.model.config import ModelConfig
from gptloom.model.merged.golden import GoldenModel
from gptloom.model.merged.integer import Widths
from gptloom.model.merged.quantise import quantise


def shift(value, n):
    """Shift right, half up."""
    return math.floor(value / 2**n + 0.5)


def clip(value, bits):
    return max(-(2 ** (bits - 1)), min(2 ** (bits - 1) - 1, value))


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


OCTAVES = {2: (4, 1), 4: (4, 2, 2, 1)}
"""Octaves that ALiBi subtracts from a score per position, by number of heads."""

PER_HEAD = ("maximum", "denominator", "mantissa", "exponent")


def window_of(square):
    """Return the centre of a sum of squares' interval in [1, 4), and its exponent."""
    exponent = (max(square, 1).bit_length() - 1) // 2
    return (math.floor(square * 32 / 4**exponent) + 0.5) / 32, exponent


def inverse_root(square, left, bits):
    window, exponent = window_of(square)
    mantissa = min(511, round(512 / math.sqrt(window)))
    return min(shift(mantissa * 2**left, exponent), 2**bits - 1)


class ReferenceLayer:
    """One layer in Python's integers and its own tables; a document, token by token."""

    def __init__(self, model, index):
        layer = model.layers[index]
        self.config, self.widths, self.shifts = model.config, model.widths, layer.shifts
        self.matrix = {name: rows.tolist() for name, rows in layer.weights.items()}
        self.keys, self.values = [], []
        alibi = self.config.positions == "alibi"
        self.octaves = OCTAVES[self.config.heads] if alibi else [0] * self.config.heads

    def by(self, name, values):
        return [dot(row, values) for row in self.matrix[name]]

    def look_up(self, table, token, position):
        place = position if self.config.positions == "learned" else 0
        return {name: rows[token][place].tolist() for name, rows in table.items()}

    def enter(self, before, offset):
        """Return a layer's inputs, from the previous layer's values and its shift ``offset``."""
        s, w, width = self.shifts, self.widths, self.config.width
        stream = [
            clip(product + shift(direct * before["root"][0], offset), w.stream)
            for product, direct in zip(before["product"], before["direct"], strict=True)
        ]
        q, k, v, x = (stream[start : start + width] for start in range(0, 4 * width, width))
        scale = inverse_root(dot(x, x), s["scale"], w.root)
        inverse = inverse_root(before["square"][0], s["inverse"], w.root)
        found = {"stream": stream, "energy": [dot(x, x)], "scale": [scale], "inverse": [inverse]}
        found["k"] = [clip(shift(value * scale, s["k"]), w.keys) for value in k]
        found["v"] = [clip(shift(value * scale, s["v"]), w.values) for value in v]
        found["x"] = [clip(shift(value * inverse, s["x"]), w.residual) for value in x]
        found |= {"f": self.by("f", found["x"]), "d": self.by("d", found["x"])}
        found["fx"] = [shift(value, s["fx"]) for value in found["f"]]
        found["lx"] = [shift(value, s["lx"]) for value in found["d"]]
        return found, q

    def attend(self, q, scale, found):
        s, c, w = self.shifts, self.config, self.widths
        size = c.width // c.heads
        self.keys.append(found["k"])
        self.values.append(found["v"])
        found |= {name: [] for name in (*PER_HEAD, "weighted", "reduced", "mix")}
        found |= {name: [[] for _ in self.keys] for name in ("score", "numerator")}
        for start in range(0, c.width, size):
            head = slice(start, start + size)
            # Sixteenths of an octave subtracted from a score per position.
            slope = 16 * self.octaves[start // size]
            scores = [
                clip(shift(dot(q[head], k[head]) * scale, s["score"]) - slope * distance, 10)
                for distance, k in zip(range(len(self.keys) - 1, -1, -1), self.keys, strict=True)
            ]
            top = max(scores)
            powers = [
                round(255 * 2 ** (-((top - one) % 16) / 16)) // 2 ** ((top - one) // 16)
                for one in scores
            ]
            total = sum(powers)
            exponent = total.bit_length() - 1
            window = math.floor((total / 2**exponent - 1) * 64)
            mantissa = min(511, round(512 / (1 + (window + 0.5) / 64)))
            for i in range(start, start + size):
                weighted = dot(powers, [v[i] for v in self.values])
                reduced = math.floor(weighted / 2 ** (exponent - 7))
                found["weighted"].append(weighted)
                found["reduced"].append(reduced)
                found["mix"].append(clip(shift(reduced * mantissa, s["mix"]), w.activations))
            for name, value in zip(PER_HEAD, (top, total, mantissa, exponent), strict=True):
                found[name].append(value)
            for time, (score, power) in enumerate(zip(scores, powers, strict=True)):
                found["score"][time].append(score)
                found["numerator"][time].append(power)

    def finish(self, found, left):
        """Compute all remaining values; x, fx and lx are shifted left by `left` and added."""
        s, w = self.shifts, self.widths
        found |= {name: self.by(name, found["mix"]) for name in ("a1", "wo", "a2")}

        def added(name, matrix, site):
            return [
                shift(entry * 2 ** (left[name] + s[site]) + product, s[site])
                for entry, product in zip(found[name], found[matrix], strict=True)
            ]

        hidden = added("fx", "a1", "hidden")
        found["hidden"] = [min(max(value, 0), 2**w.activations - 1) for value in hidden]
        found["residual"] = [clip(value, w.residual) for value in added("x", "wo", "residual")]
        found["square"] = [dot(found["residual"], found["residual"])]
        window, exponent = window_of(*found["square"])
        mantissa = min(511, round(256 * math.sqrt(window)))
        root = min(shift(mantissa * 2**exponent, s["root"]), 2**w.root - 1)
        found |= {"root_mantissa": [mantissa], "root_exponent": [exponent], "root": [root]}
        found["direct"] = [clip(value, w.direct) for value in added("lx", "a2", "direct")]
        found["b"] = self.by("b", found["hidden"])
        found["product"] = [shift(value, s["product"]) for value in found["b"]]


def reference(model, tokens):
    """Return every intermediate value after each of `tokens`, by layer and site."""
    layers = [ReferenceLayer(model, index) for index in range(model.config.layers)]
    for position, token in enumerate(tokens):
        everything, found = {}, None
        for index, layer in enumerate(layers):
            if index == 0:
                found = layer.look_up(model.table, token, position)
                layer.attend(found["q"], 1, found)
                layer.finish(found, layer.shifts)
            else:
                found, q = layer.enter(found, layers[index - 1].shifts["offset"])
                layer.attend(q, found["scale"][0], found)
                layer.finish(found, dict.fromkeys(("x", "fx", "lx"), 0))
            everything |= {(index, site): value for site, value in found.items()}
        offset = layers[-1].shifts["offset"]
        everything[index, "logits"] = [
            product + shift(direct * found["root"][0], offset)
            for product, direct in zip(found["product"], found["direct"], strict=True)
        ]
        yield everything


def documents(config, count, seed):
    random = np.random.default_rng(seed)
    tokens = random.integers(0, config.vocabulary - 1, (count, config.context))
    tokens[:, 0] = config.vocabulary - 1
    return tokens


def trace_into(traced):
    return lambda layer, site, value: traced.update({(layer, site): value})


def assert_equal_to_the_reference(model):
    tokens = documents(model.config, 2, seed=4)
    traced = {}
    GoldenModel(model).outputs(tokens, trace_into(traced))
    for position, expected in enumerate(reference(model, tokens[1].tolist())):
        assert expected.keys() == traced.keys()
        for (layer, site), value in expected.items():
            got = traced[layer, site][1, position]
            if site in ("score", "numerator"):
                got = got[: position + 1]
            if site in ("weighted", "reduced"):
                got = got.ravel()
            assert got.tolist() == value, (layer, site, position)


def test_shipped_models_follow_the_steps(shipped):
    assert_equal_to_the_reference(shipped)


@pytest.mark.long
def test_the_shipped_model_without_positions_follows_the_steps(quantised):
    assert_equal_to_the_reference(quantised("names-alibi"))


def test_random_models_follow_the_steps(random_model):
    assert_equal_to_the_reference(random_model)


@pytest.mark.parametrize("bits", [(4, 6), (10, 10)])
def test_other_widths_follow_the_steps(quantised, bits):
    widths = Widths(
        weights=bits[0], activations=bits[1], residual=7, root=10, product=14, keys=5, values=4
    )
    assert_equal_to_the_reference(quantised("names", widths))


@pytest.mark.parametrize("bits", [(4, 6), (6, 8)])
def test_later_layers_of_other_widths_follow_the_steps(random_checkpoint, bits):
    widths = Widths(
        weights=bits[0], activations=bits[1], residual=9, root=7, stream=12, keys=4, values=6
    )
    config = ModelConfig(layers=2, width=12, heads=4, hidden=20, context=6, vocabulary=11)
    assert_equal_to_the_reference(quantise(random_checkpoint(config), widths))


def test_a_cache_changes_nothing(random_model):
    config, golden = random_model.config, GoldenModel(random_model)
    tokens = documents(config, 4, seed=2)
    traced = {}
    golden.outputs(tokens, trace_into(traced))
    cache = golden.new_cache(batch=4)
    for position in range(config.context):
        stepped = {}
        golden.step(
            tokens[:, position],
            position,
            cache,
            trace_into(stepped),
        )
        assert stepped.keys() == traced.keys()
        for (layer, site), value in stepped.items():
            expected = traced[layer, site][:, position : position + 1]
            if site in ("score", "numerator"):
                expected = expected[:, :, : position + 1]
            assert (value == expected).all(), (layer, site, position)


def test_streams_may_stand_at_different_positions(random_model):
    config, golden = random_model.config, GoldenModel(random_model)
    tokens = documents(config, 3, seed=3)
    whole = golden.outputs(tokens)
    cache = golden.new_cache(batch=3)
    # Each stream starts one step after the one before, repeating its first position until then.
    for time in range(config.context + 2):
        positions = np.clip(time - np.arange(3), 0, config.context - 1)
        outputs = golden.step(tokens[np.arange(3), positions], positions, cache)
        for value, expected in zip(outputs, whole, strict=True):
            assert (value == expected[np.arange(3), positions]).all()


def assert_no_input_leaves_the_stated_widths(model):
    bits, traced = model.bits(), {}
    GoldenModel(model).outputs(documents(model.config, 20, seed=1), trace_into(traced))
    for (layer, site), value in traced.items():
        if site in ("a1", "wo", "a2", "f", "d", "b", "product", "logits"):
            assert np.abs(value).max() < 1 << (bits[layer][site] - 1), (layer, site)
    # Saturated inputs can have any value of their width: take the worst for each matrix.
    for layer, widths in zip(model.layers, bits, strict=True):
        for name in ("a1", "wo", "a2", "f", "d"):
            if name in layer.weights:
                into = model.widths.residual if name in "fd" else model.widths.activations
                least = -(1 << (into - 1))
                worst = np.where(layer.weights[name] < 0, least, -least - 1)
                sums = (layer.weights[name] * worst).sum(axis=1)
                assert 1 << (widths[name] - 3) < sums.max() < 1 << (widths[name] - 1)


def test_no_input_leaves_the_stated_widths_of_shipped_models(shipped):
    assert_no_input_leaves_the_stated_widths(shipped)


def test_no_input_leaves_the_stated_widths_of_random_models(random_model):
    assert_no_input_leaves_the_stated_widths(random_model)
