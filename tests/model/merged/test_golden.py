"""The merged golden model against its own table of steps, computed one number at a time."""

import itertools
import math

import numpy as np
import pytest

from gptloom.model import sampling
from gptloom.model.checkpoint import load_checkpoint
from gptloom.model.errors import UserError
from gptloom.model.float_model import FloatModel
from gptloom.model.merged.golden import GoldenModel, Outputs, Stream
from gptloom.model.merged.integer import Widths
from gptloom.model.tables import NOISE_TABLE


def shift(value, n):
    """Shift right, half up."""
    return math.floor(value / 2**n + 0.5)


def clip(value, bits):
    return max(-(2 ** (bits - 1)), min(2 ** (bits - 1) - 1, value))


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


PER_HEAD = ("maximum", "denominator", "mantissa", "exponent")


def reference(model, tokens):
    """Every intermediate of the last of `tokens`, in Python's integers and its own tables."""
    c, w, s = model.config, model.widths, model.shifts
    size = c.width // c.heads
    table = {name: rows.tolist() for name, rows in model.table.items()}
    matrix = {name: rows.tolist() for name, rows in model.weights.items()}
    at = {name: [rows[t][p] for p, t in enumerate(tokens)] for name, rows in table.items()}
    found = {name: rows[-1] for name, rows in at.items()}
    found |= {name: [] for name in PER_HEAD}
    found |= {name: [] for name in ("weighted", "reduced", "mix")}
    found |= {name: [[] for _ in tokens] for name in ("score", "numerator")}
    for start in range(0, c.width, size):
        head = slice(start, start + size)
        scores = [clip(shift(dot(found["q"][head], k[head]), s["score"]), 10) for k in at["k"]]
        top = max(scores)
        powers = [
            math.floor(round(255 * 2 ** (-((top - score) % 16) / 16)) / 2 ** ((top - score) // 16))
            for score in scores
        ]
        total = sum(powers)
        exponent = total.bit_length() - 1
        window = math.floor((total / 2**exponent - 1) * 64)
        mantissa = min(511, round(512 / (1 + (window + 0.5) / 64)))
        for i in range(start, start + size):
            weighted = dot(powers, [v[i] for v in at["v"]])
            reduced = math.floor(weighted / 2 ** (exponent - 7))
            found["weighted"].append(weighted)
            found["reduced"].append(reduced)
            found["mix"].append(clip(shift(reduced * mantissa, s["mix"]), w.activations))
        found["maximum"].append(top)
        found["denominator"].append(total)
        found["mantissa"].append(mantissa)
        found["exponent"].append(exponent)
        for time, (score, power) in enumerate(zip(scores, powers, strict=True)):
            found["score"][time].append(score)
            found["numerator"][time].append(power)
    a = found["mix"]

    def added(name, rows, site):
        return [
            shift(entry * 2 ** (s[name] + s[site]) + dot(row, a), s[site])
            for entry, row in zip(found[name], matrix[rows], strict=True)
        ]

    u = [min(max(value, 0), 2**w.activations - 1) for value in added("fx", "a1", "hidden")]
    residual = [clip(value, w.residual) for value in added("x", "wo", "residual")]
    square = dot(residual, residual)
    exponent = (max(square, 1).bit_length() - 1) // 2
    window = math.floor(square * 32 / 4**exponent)
    mantissa = min(511, round(256 * math.sqrt((window + 0.5) / 32)))
    root = min(shift(mantissa * 2**exponent, s["root"]), 2**w.root - 1)
    direct = [clip(value, w.direct) for value in added("lx", "a2", "direct")]
    product = [shift(dot(row, u), s["product"]) for row in matrix["b"]]
    offset = [shift(value * root, s["offset"]) for value in direct]
    logits = [one + other for one, other in zip(product, offset, strict=True)]
    for name, values in (("a1", a), ("wo", a), ("a2", a), ("b", u)):
        found[name] = [dot(row, values) for row in matrix[name]]
    return found | {
        "root_mantissa": [mantissa],
        "root_exponent": [exponent],
        "hidden": u,
        "residual": residual,
        "square": [square],
        "root": [root],
        "product": product,
        "direct": direct,
        "logits": logits,
    }


def documents(config, count, seed):
    random = np.random.default_rng(seed)
    tokens = random.integers(0, config.vocabulary - 1, (count, config.context))
    tokens[:, 0] = config.vocabulary - 1
    return tokens


def assert_equal_to_the_reference(model):
    tokens = documents(model.config, 2, seed=4)
    traced = {}
    GoldenModel(model).outputs(tokens, lambda _, site, value: traced.update({site: value}))
    for position in (0, 1, model.config.context // 2, model.config.context - 1):
        expected = reference(model, tokens[1, : position + 1].tolist())
        for site, value in expected.items():
            got = traced[site][1, position]
            if site in ("score", "numerator"):
                got = got[: position + 1]
            if site in ("weighted", "reduced"):
                got = got.ravel()
            assert got.tolist() == value, (site, position)
        assert expected.keys() == traced.keys()


def test_shipped_models_follow_the_steps(shipped):
    assert_equal_to_the_reference(shipped)


def test_random_models_follow_the_steps(random_model):
    assert_equal_to_the_reference(random_model)


@pytest.mark.parametrize("bits", [(4, 6), (10, 10)])
def test_other_widths_follow_the_steps(quantised, bits):
    widths = Widths(weights=bits[0], activations=bits[1], residual=7, root=10, product=14)
    assert_equal_to_the_reference(quantised("names", widths))


def test_a_cache_changes_nothing(random_model):
    config, golden = random_model.config, GoldenModel(random_model)
    tokens = documents(config, 4, seed=2)
    traced = {}
    golden.outputs(tokens, lambda _, site, value: traced.update({site: value}))
    cache = golden.new_cache(batch=4)
    for position in range(config.context):
        stepped = {}
        golden.step(
            tokens[:, position],
            position,
            cache,
            lambda _, site, value, stepped=stepped: stepped.update({site: value}),
        )
        assert stepped.keys() == traced.keys()
        for site, value in stepped.items():
            expected = traced[site][:, position : position + 1]
            if site in ("score", "numerator"):
                expected = expected[:, :, : position + 1]
            assert (value == expected).all(), (site, position)


def test_streams_may_stand_at_different_positions(random_model):
    config, golden = random_model.config, GoldenModel(random_model)
    tokens = documents(config, 3, seed=3)
    whole = golden.outputs(tokens)
    cache = golden.new_cache(batch=3)
    # Each stream starts one step after the one before; until then it repeats its first position.
    for time in range(config.context + 2):
        positions = np.clip(time - np.arange(3), 0, config.context - 1)
        outputs = golden.step(tokens[np.arange(3), positions], positions, cache)
        for value, expected in zip(outputs, whole, strict=True):
            assert (value == expected[np.arange(3), positions]).all()


def assert_no_input_leaves_the_stated_widths(model):
    bits, seen = model.bits(), {}

    def note(_, site, value):
        seen[site] = int(np.abs(value).max())

    GoldenModel(model).outputs(documents(model.config, 20, seed=1), note)
    for site in ("b", "product", "logits"):
        assert seen[site] < 1 << (bits[site] - 1)
    # What saturates has every value its width allows: the worst of them for each matrix.
    least = -(1 << (model.widths.activations - 1))
    for name in ("a1", "wo", "a2"):
        worst = np.where(model.weights[name] < 0, least, -least - 1)
        sums = (model.weights[name] * worst).sum(axis=1)
        limit = 1 << (bits[name] - 1)
        assert limit // 4 < sums.max() < limit


def test_no_input_leaves_the_stated_widths_of_shipped_models(shipped):
    assert_no_input_leaves_the_stated_widths(shipped)


def test_no_input_leaves_the_stated_widths_of_random_models(random_model):
    assert_no_input_leaves_the_stated_widths(random_model)


def generated(model, count, **options):
    settings = {"seed": 1, "temperature": 0.8, **options}
    return list(itertools.islice(GoldenModel(model).generate(**settings), count))


@pytest.mark.parametrize("temperature", [0, 0.1, 0.7, 2.0])
def test_tokens_are_drawn_from_logits_and_noise_times_temperature(shipped, temperature):
    golden, bos, vocabulary = GoldenModel(shipped), shipped.tokenizer.bos, shipped.config.vocabulary
    noise = sampling.noise(77)
    tokens = [bos]
    for item in generated(shipped, 80, seed=77, temperature=temperature):
        assert item.position == len(tokens) - 1
        outputs = golden.outputs(np.array([tokens]))
        logits, unit = golden.noisy(outputs)[0, -1], golden.unit(outputs)[0, -1]
        values = np.array([next(noise) for _ in range(vocabulary)])
        # In nats, and exactly: rounding may decide between near equals only.
        exact = logits * unit + values / 128 * temperature
        slack = 2 * unit + shipped.logit_unit + temperature * np.abs(values).max() / 128 / 512
        assert exact[item.token] >= exact.max() - slack
        assert item.last == (item.token == bos or item.position == shipped.config.context - 1)
        tokens = [bos] if item.last else [*tokens, item.token]


def softmax(logits):
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


def chances(golden, outputs, temperature):
    """Exact probability of every token to be drawn, all entries of the noise table being alike."""
    noise = golden.scaled_noise(NOISE_TABLE, golden.model.noise_scale(temperature))
    noisy = np.sort(golden.noisy(Outputs(*(value[:, None] for value in outputs)), noise))
    won = np.ones(noisy.shape)
    for i, j in itertools.permutations(range(len(noisy)), 2):
        # The first of equals is drawn.
        won[i] *= np.searchsorted(noisy[j], noisy[i], "left" if j < i else "right")
        won[i] /= noisy.shape[1]
    return won.mean(axis=1)


def test_sampling_follows_the_probabilities(quantised):
    model, checkpoint = quantised("names"), load_checkpoint("names")
    golden = GoldenModel(model)
    tokens = checkpoint.calibration[:2, :3].astype(np.int64)
    outputs = golden.outputs(tokens)
    own = golden.noisy(outputs) * golden.unit(outputs)
    exact = FloatModel(checkpoint.config, checkpoint.weights).logits(tokens)
    # At most, on average: the float model's probabilities, and those of the integer logits.
    for temperature, quantised_loss, sampler_loss in (
        (0.5, 0.03, 0.008),
        (0.7, 0.03, 0.007),
        (1.0, 0.03, 0.006),
    ):
        total = np.zeros(2)
        for where in np.ndindex(tokens.shape):
            found = chances(golden, Outputs(*(value[where] for value in outputs)), temperature)
            assert found.sum() == pytest.approx(1)
            for index, logits in enumerate((exact, own)):
                total[index] += np.abs(found - softmax(logits[where] / temperature)).sum() / 2
        assert total[0] / tokens.size < quantised_loss
        assert total[1] / tokens.size < sampler_loss


def test_streams_do_not_depend_on_each_other(quantised):
    model = quantised("names")
    golden = GoldenModel(model)
    streams = [
        Stream(5, 0.8),
        Stream(6, 0.0, tuple(model.tokenizer.encode("ma"))),
        Stream(5, 1.5, tuple(model.tokenizer.encode("christo"))),
    ]
    steps = list(itertools.islice(golden.generate_streams(streams), 60))
    for index, stream in enumerate(streams):
        emitted = [items[index] for items in steps if items[index]]
        alone = golden.generate(stream.seed, stream.temperature, stream.prompt)
        assert emitted == list(itertools.islice(alone, len(emitted)))
        assert len(emitted) >= 15


def test_generation_is_traced_to_its_token(quantised):
    traced = {}

    def trace(document, position):
        values = traced[document, position] = {}
        return lambda _, site, value: values.update({site: value})

    golden = GoldenModel(quantised("names"))
    items = list(itertools.islice(golden.generate(9, 1.0, trace=trace), 30))
    assert len({document for document, _ in traced}) > 1
    for item, ((_, position), values) in zip(items, traced.items(), strict=True):
        assert item.position == position
        assert item.token == values["token"][0, 0]
        assert (values["noisy"] == values["product"] + values["offset"]).all()
        shift = golden.model.shifts["offset"]
        exact = values["root"] * (values["direct"] + values["noise"]) / 2**shift
        assert np.abs(values["offset"] - exact).max() <= 0.5


def test_greedy_decoding_ignores_the_seed(quantised):
    model = quantised("names")
    first = generated(model, 40, temperature=0, seed=5)
    assert generated(model, 40, temperature=0, seed=6) == first
    assert generated(model, 40, seed=5) != generated(model, 40, seed=6)


def test_bad_requests_are_refused(quantised):
    model = quantised("names")
    with pytest.raises(UserError, match=r"16 characters but .* room for 15"):
        next(GoldenModel(model).generate(1, 1.0, [3] * 16))
    for temperature in (0.09, 2.01, -1, float("nan")):
        with pytest.raises(UserError, match=r"choose 0\.1 to 2\.0, or 0"):
            model.noise_scale(temperature)
    with pytest.raises(UserError, match="seed 0"):
        next(GoldenModel(model).generate(0, 1.0))


def test_temperatures_are_exact_to_two_thousandths(shipped):
    for temperature in np.linspace(0.1, 2.0, 39):
        scale = shipped.noise_scale(float(temperature))
        assert 256 <= scale.mantissa < 512
        exact = temperature / shipped.logit_unit / 128
        assert scale.mantissa * 2.0**-scale.shift == pytest.approx(exact, rel=1 / 512)
