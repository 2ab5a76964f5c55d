"""The golden model: with and without cache, generation, and its assumptions on widths."""

import itertools
import zlib
from dataclasses import replace

import numpy as np
import pytest

from gptloom.firmware.machine import Machine
from gptloom.model import arithmetic, sampling
from gptloom.model.arithmetic import MANTISSA_BITS, UNIT_MANTISSA
from gptloom.model.checkpoint import load_checkpoint, shipped_checkpoints
from gptloom.model.config import ModelConfig
from gptloom.model.errors import UserError
from gptloom.model.formats import CacheFormat, Precision, RowFormat
from gptloom.model.golden import GoldenModel, Operations
from gptloom.model.integer import IntegerModel
from gptloom.model.network import network
from gptloom.model.quantise import quantise
from gptloom.model.tokenizers.characters import Characters

SHAPES = [
    ModelConfig.MICROGPT,
    ModelConfig.GATEGPT,
    ModelConfig.TWO_LAYER,
    ModelConfig(layers=3, width=8, heads=1, hidden=20, context=5, vocabulary=11),
    ModelConfig(width=32, heads=8, hidden=128, context=40, vocabulary=53),
]
LAYER_SITES = ("q", "k", "v", "mix", "out", "hidden", "mlp")
CHARACTERS = "".join(map(chr, range(0x100, 0x200)))


def random_model(config, seed, weights=None):
    """Return a model whose sites range from mostly zero to mostly saturated."""
    random = np.random.default_rng(seed)
    draw = weights or (lambda shape: random.integers(-127, 128, shape))
    table, drawn, shifts = network(config), {}, {}
    for layer in range(config.layers):
        drawn |= {tensor.name: draw(tensor.shape) for tensor in table.layer_weights(layer)}
        shifts |= {(layer, site): int(random.integers(2, 14)) for site in LAYER_SITES}
    for tensor in (*table.embeddings, table.head.matrix):
        drawn[tensor.name] = draw(tensor.shape)
    return IntegerModel(
        config=config,
        tokenizer=Characters(CHARACTERS[: config.vocabulary - 1]),
        weights=drawn,
        shifts=shifts | {(0, "start"): int(random.integers(3, 8))},
        logit_unit=1 / 5000,
    )


@pytest.fixture(scope="module", params=shipped_checkpoints())
def shipped(request):
    return quantise(load_checkpoint(request.param))


@pytest.fixture(scope="module")
def names():
    return quantise(load_checkpoint("names"))


def assert_cache_changes_nothing(model, seed):
    config, golden = model.config, GoldenModel(model)
    tokens = np.random.default_rng(seed).integers(0, config.vocabulary, (4, config.context))
    traced = {}
    whole = golden.logits(tokens, lambda layer, site, value: traced.update({(layer, site): value}))
    cache = golden.new_cache(batch=4)
    for position in range(config.context):
        stepped = {}
        logits = golden.step(
            tokens[:, position],
            position,
            cache,
            lambda layer, site, value, stepped=stepped: stepped.update({(layer, site): value}),
        )
        assert (logits == whole[:, position]).all()
        assert stepped.keys() == traced.keys()
        for (layer, site), value in stepped.items():
            expected = traced[layer, site][:, position : position + 1]
            if site in ("score", "numerator"):
                expected = expected[:, :, : position + 1]
            assert (value == expected).all(), (layer, site, position)


def test_a_cache_changes_nothing_in_shipped_models(shipped):
    assert_cache_changes_nothing(shipped, seed=1)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("config", SHAPES, ids=str)
def test_a_cache_changes_nothing_in_random_models(config, seed):
    assert_cache_changes_nothing(random_model(config, seed), seed)


def test_the_integers_are_those_that_hardware_was_built_for():
    # Weights from a formula, so that nothing but the arithmetic decides the checksum.
    numbers = itertools.count()
    model = random_model(
        ModelConfig.TWO_LAYER,
        seed=0,
        weights=lambda shape: np.array(
            [next(numbers) * 7919 % 255 - 127 for _ in range(shape[0] * shape[1])]
        ).reshape(shape),
    )
    fixed = dict(zip(LAYER_SITES, (4, 6, 7, 4, 9, 10, 6), strict=True))
    shifts = {(layer, site): shift for layer in range(2) for site, shift in fixed.items()}
    golden = GoldenModel(replace(model, shifts=shifts | {(0, "start"): 5}))
    checksum = 0

    def add(layer, site, value):
        nonlocal checksum
        checksum = zlib.crc32(
            f"{layer} {site} {value.shape} {value.ravel().tolist()}".encode(), checksum
        )

    tokens = np.arange(64).reshape(4, 16) * 5 % 27
    add(2, "logits", golden.logits(tokens, add))
    assert checksum == 3230745893
    drawn = [item.token for item in itertools.islice(golden.generate(99, 1.5), 10)]
    assert drawn == [4, 4, 23, 7, 26, 4, 4, 23, 7, 18]


@pytest.mark.parametrize(("keys", "values"), [(6, 8), (8, 6), (5, 7)])
def test_keys_and_values_saturate_in_widths_of_their_own(keys, values):
    """All other values follow from the narrower rows, computed here in explicit integers."""
    config = ModelConfig(width=8, heads=2, hidden=12, context=6, vocabulary=9)
    wide = random_model(config, 4)
    # Small shifts, with which keys and values fill all widths.
    wide = replace(wide, shifts=wide.shifts | {(0, "k"): 2, (0, "v"): 2})
    formats = CacheFormat(RowFormat(keys), RowFormat(values))
    narrow = replace(wide, precision=Precision(cache=formats))
    tokens = np.arange(12).reshape(2, 6) % 9
    one, two = {}, {}
    for model, found in ((wide, one), (narrow, two)):
        GoldenModel(model).logits(tokens, lambda _, site, value, f=found: f.update({site: value}))
    assert_cache_changes_nothing(narrow, seed=2)
    for site, bits in (("k", keys), ("v", values)):
        limit = 1 << bits - 1
        np.testing.assert_array_equal(two[site], np.clip(one[site], -limit, limit - 1))
        assert two[site].min() == -limit
        assert two[site].max() == limit - 1
    heads = [two[site].reshape(2, 6, 2, 4) for site in ("q", "k")]
    scores = np.floor(np.einsum("bthd,bshd->btsh", *heads) / 128 + 0.5)
    np.testing.assert_array_equal(two["score"], np.clip(scores, -512, 511))


def test_later_tokens_do_not_reach_earlier_positions(shipped):
    golden, context = GoldenModel(shipped), shipped.config.context
    tokens = np.random.default_rng(3).integers(0, shipped.config.vocabulary, (2, context))
    tokens[1, : context // 2] = tokens[0, : context // 2]
    logits = golden.logits(tokens)
    assert (logits[0, : context // 2] == logits[1, : context // 2]).all()
    assert (logits[0, context // 2 :] != logits[1, context // 2 :]).any()


def generated(model, count, **options):
    settings = {"seed": 1, "temperature": 0.8, **options}
    return list(itertools.islice(GoldenModel(model).generate(**settings), count))


def documents(tokens):
    """Split a stream of tokens after each last one; tokens after the final one are dropped."""
    found, current = [], []
    for token in tokens:
        current.append(token)
        if token.last:
            found.append(current)
            current = []
    return found


def test_generation_is_a_function_of_the_seed(names):
    first = generated(names, 200, seed=5)
    assert generated(names, 200, seed=5) == first
    assert generated(names, 200, seed=6) != first


def test_greedy_decoding_ignores_the_seed_and_repeats_one_document(names):
    found = documents(generated(names, 60, temperature=0, seed=5))
    assert found == documents(generated(names, 60, temperature=0, seed=6))
    assert all(document == found[0] for document in found)


@pytest.mark.parametrize("temperature", [0, 0.1, 0.7, 2.0])
def test_tokens_are_drawn_from_the_logits_of_the_whole_document(shipped, temperature):
    golden, bos = GoldenModel(shipped), shipped.tokenizer.bos
    scale = shipped.logit_scale(temperature)
    noise = sampling.noise(77)
    for document in documents(generated(shipped, 80, seed=77, temperature=temperature)):
        tokens = [bos] + [item.token for item in document]
        logits = golden.scaled_logits(golden.logits(np.array([tokens[:-1]]))[0], scale)
        for position, item in enumerate(document):
            assert item.position == position
            values = np.array([next(noise) for _ in range(shipped.config.vocabulary)])
            noisy = logits[position] + (0 if temperature == 0 else values)
            assert item.token == np.argmax(noisy)


def test_documents_end_with_the_end_token_or_the_context(names):
    bos, context = names.tokenizer.bos, names.config.context
    # From the middle of a long name, at the highest temperature, both kinds of end occur.
    prompt = names.tokenizer.encode("christop")
    found = documents(generated(names, 600, temperature=2.0, prompt=prompt))
    for document in found:
        assert all(not item.last for item in document[:-1])
        assert all(item.token != bos for item in document[:-1])
        assert document[-1].token == bos or document[-1].position == context - 1
    ends = {document[-1].token == bos for document in found}
    assert ends == {True, False}


def test_every_document_starts_with_the_prompt(names):
    prompt = names.tokenizer.encode("mar")
    found = documents(generated(names, 100, prompt=prompt))
    assert all(document[0].position == len(prompt) for document in found)
    golden, bos = GoldenModel(names), names.tokenizer.bos
    logits = golden.scaled_logits(
        golden.logits(np.array([[bos, *prompt]]))[0, -1], names.logit_scale(0)
    )
    assert generated(names, 1, prompt=prompt, temperature=0)[0].token == np.argmax(logits)


def test_a_prompt_may_fill_the_context_but_one_position(names):
    longest = names.config.context - 1
    for item in generated(names, 5, prompt=[3] * longest):
        assert item.position == longest
        assert item.last
    with pytest.raises(UserError, match=r"16 tokens but .* room for 15: shorten it"):
        next(GoldenModel(names).generate(1, 1.0, [3] * (longest + 1)))


@pytest.mark.parametrize("temperature", [0.09, 2.01, -1, float("nan")])
def test_temperatures_out_of_range_are_refused(names, temperature):
    with pytest.raises(UserError, match=r"choose 0\.1 to 2\.0, or 0"):
        names.logit_scale(temperature)


def test_temperatures_become_scales_that_the_hardware_has(shipped):
    for temperature in np.linspace(0.1, 2.0, 96):
        scale = shipped.logit_scale(float(temperature))
        assert UNIT_MANTISSA <= scale.mantissa < 1 << MANTISSA_BITS
        assert 1 <= scale.shift <= 31
        assert not scale.greedy
        exact = shipped.logit_unit * 2.0 ** (arithmetic.LOGIT_FRACTION + arithmetic.PRE_SHIFT)
        exact /= temperature
        assert scale.mantissa * 2.0**-scale.shift == pytest.approx(exact, rel=1 / 512)
    assert shipped.logit_scale(0).greedy
    assert shipped.logit_scale(0).shift == shipped.logit_scale(1.0).shift


class Widest(Operations):
    """Records the extreme accumulators that the machine has to hold."""

    def __init__(self):
        super().__init__()
        self.lowest = self.highest = 0

    def note(self, accumulators):
        self.lowest = min(self.lowest, int(accumulators.min()))
        self.highest = max(self.highest, int(accumulators.max()))

    def quantise_score(self, site, accumulators):
        self.note(accumulators)
        return super().quantise_score(site, accumulators)

    def requantise(self, site, accumulators, scale, shift):
        self.note(accumulators)
        return super().requantise(site, accumulators, scale, shift)


@pytest.mark.parametrize("sign", ["one", "random", "rows"])
def test_accumulators_fit_whatever_the_weights(sign):
    config = ModelConfig(width=128, heads=2, hidden=128, context=128)
    random = np.random.default_rng(8)

    def extreme(shape):
        signs = {
            "one": np.ones(shape, np.int64),
            "random": random.choice((-1, 1), shape),
            "rows": np.broadcast_to(random.choice((-1, 1), (shape[0], 1)), shape),
        }
        return 127 * signs[sign]

    widest = Widest()
    for seed in range(4):
        golden = GoldenModel(random_model(config, seed, extreme), widest)
        tokens = random.integers(0, config.vocabulary, (1, config.context))
        widest.note(golden.logits(tokens))
    machine = Machine.for_models(16, config)
    limit = 1 << (machine.accumulator_bits - 1)
    assert -limit <= widest.lowest
    assert widest.highest < limit
    # The test is meaningful only if the accumulators are nearly full.
    assert max(-widest.lowest, widest.highest) > limit // 4


def test_a_logit_scale_that_the_hardware_cannot_shift_is_refused():
    from dataclasses import replace

    from gptloom.model.checkpoint import load_checkpoint
    from gptloom.model.errors import UserError
    from gptloom.model.quantise import quantise

    model = quantise(load_checkpoint("names"))
    for unit in (1e6, 1e-12):
        with pytest.raises(UserError, match="lm_head"):
            replace(model, logit_unit=unit).logit_scale(1.0)
