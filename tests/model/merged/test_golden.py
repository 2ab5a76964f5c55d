"""The merged golden model against its own table of steps, computed one number at a time."""

import itertools
import math

import numpy as np
import pytest

from gptloom.model import sampling
from gptloom.model.errors import UserError
from gptloom.model.merged.golden import GoldenModel, Stream
from gptloom.model.merged.integer import Widths


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
            shift(entry * 2 ** s[name] + dot(row, a), s[site])
            for entry, row in zip(found[name], matrix[rows], strict=True)
        ]

    u = [min(max(value, 0), 2**w.activations - 1) for value in added("fx", "a1", "hidden")]
    residual = [clip(value, w.residual) for value in added("x", "wo", "residual")]
    square = dot(residual, residual)
    exponent = (max(square, 1).bit_length() - 1) // 2
    window = math.floor(square * 32 / 4**exponent)
    mantissa = min(511, round(512 / math.sqrt((window + 0.5) / 32)))
    norm = min(shift(mantissa * 2 ** s["norm"], exponent), 2**w.norm - 1)
    product = [clip(shift(dot(row, u), s["product"]), w.product) for row in matrix["b"]]
    direct = [clip(value, w.direct) for value in added("lx", "a2", "direct")]
    mlp = [shift(value * norm, s["mlp"]) for value in product]
    logits = [one + other for one, other in zip(direct, mlp, strict=True)]
    for name, values in (("a1", a), ("wo", a), ("a2", a), ("b", u)):
        found[name] = [dot(row, values) for row in matrix[name]]
    return found | {
        "norm_mantissa": [mantissa],
        "norm_exponent": [exponent],
        "hidden": u,
        "residual": residual,
        "square": [square],
        "norm": [norm],
        "product": product,
        "direct": direct,
        "mlp": mlp,
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
    GoldenModel(model).logits(tokens, lambda _, site, value: traced.update({site: value}))
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
    widths = Widths(weights=bits[0], activations=bits[1], residual=7, norm=10, product=12)
    assert_equal_to_the_reference(quantised("names", widths))


def test_a_cache_changes_nothing(random_model):
    config, golden = random_model.config, GoldenModel(random_model)
    tokens = documents(config, 4, seed=2)
    traced = {}
    whole = golden.logits(tokens, lambda _, site, value: traced.update({site: value}))
    cache = golden.new_cache(batch=4)
    for position in range(config.context):
        stepped = {}
        logits = golden.step(
            tokens[:, position],
            position,
            cache,
            lambda _, site, value, stepped=stepped: stepped.update({site: value}),
        )
        assert (logits == whole[:, position]).all()
        assert stepped.keys() == traced.keys()
        for site, value in stepped.items():
            expected = traced[site][:, position : position + 1]
            if site in ("score", "numerator"):
                expected = expected[:, :, : position + 1]
            assert (value == expected).all(), (site, position)


def test_streams_may_stand_at_different_positions(random_model):
    config, golden = random_model.config, GoldenModel(random_model)
    tokens = documents(config, 3, seed=3)
    whole = golden.logits(tokens)
    cache = golden.new_cache(batch=3)
    # Each stream starts one step after the one before; until then it repeats its first position.
    for time in range(config.context + 2):
        positions = np.clip(time - np.arange(3), 0, config.context - 1)
        logits = golden.step(tokens[np.arange(3), positions], positions, cache)
        assert (logits == whole[np.arange(3), positions]).all()


def assert_no_input_leaves_the_stated_widths(model):
    bits, seen = model.bits(), {}

    def note(_, site, value):
        seen[site] = int(np.abs(value).max())

    GoldenModel(model).logits(documents(model.config, 20, seed=1), note)
    for site in ("mlp", "logits"):
        assert seen[site] < 1 << (bits[site] - 1)
    # What saturates has every value its width allows: the worst of them for each matrix.
    least = -(1 << (model.widths.activations - 1))
    for name, entry in (("a1", "fx"), ("wo", "x"), ("a2", "lx")):
        worst = np.where(model.weights[name] < 0, least, -least - 1)
        sums = (model.weights[name] * worst).sum(axis=1)
        sums += ((1 << (model.widths.table - 1)) - 1) << model.shifts[entry]
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
        logits = golden.logits(np.array([tokens]))[0, -1]
        values = np.array([next(noise) for _ in range(vocabulary)])
        # In units of the noise, and exactly: rounding may decide between near equals only.
        exact = logits * shipped.logit_unit * 128 + values * temperature
        unit = shipped.logit_unit * 128
        slack = unit + temperature * np.abs(values).max() / 512
        assert exact[item.token] >= exact.max() - slack
        assert item.last == (item.token == bos or item.position == shipped.config.context - 1)
        tokens = [bos] if item.last else [*tokens, item.token]


def test_sampling_follows_the_probabilities(quantised):
    model = quantised("names")
    golden, temperature = GoldenModel(model), 0.7
    logits = golden.nats(np.array([[model.tokenizer.bos]]))[0, 0] / temperature
    expected = np.exp(logits - logits.max())
    expected /= expected.sum()
    source = sampling.noise(5)
    draws = 4000
    noise = np.fromiter(source, np.int64, draws * len(logits)).reshape(draws, -1)
    scaled = golden.scaled_noise(noise, model.noise_scale(temperature))
    raw = golden.logits(np.array([[model.tokenizer.bos]]))[0, 0]
    counts = np.bincount(np.argmax(raw + scaled, axis=1), minlength=len(logits))
    assert np.abs(counts / draws - expected).sum() / 2 < 0.03


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
        assert (values["noisy"] == values["logits"] + values["noise"]).all()
        assert (values["logits"] == values["direct"] + values["mlp"]).all()


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


def test_temperatures_are_exact_to_a_thousandth(shipped):
    for temperature in np.linspace(0.1, 2.0, 39):
        scale = shipped.noise_scale(float(temperature))
        assert 256 <= scale.mantissa < 512
        exact = temperature / shipped.logit_unit / 128
        assert scale.mantissa * 2.0**-scale.shift == pytest.approx(exact, rel=1 / 512)
