"""Sampling by the merged golden model: tokens, streams, temperatures."""

import itertools

import numpy as np
import pytest

from gptloom.model import sampling
from gptloom.model.checkpoint import load_checkpoint
from gptloom.model.errors import UserError
from gptloom.model.float_model import FloatModel
from gptloom.model.merged.golden import GoldenModel, Stream
from gptloom.model.merged.steps import Outputs
from gptloom.model.tables import NOISE_TABLE


def generated(model, count, **options):
    settings = {"seed": 1, "temperature": 0.8, **options}
    return list(itertools.islice(GoldenModel(model).generate(**settings), count))


@pytest.mark.parametrize(
    "temperature",
    [0, *(pytest.param(t, marks=pytest.mark.nightly) for t in (0.1, 2.0)), 0.7],
)
def test_tokens_are_drawn_from_logits_and_noise_times_temperature(shipped, temperature):
    golden, bos, vocabulary = GoldenModel(shipped), shipped.tokenizer.bos, shipped.config.vocabulary
    noise = sampling.noise(77)
    tokens = [bos]
    for item in generated(shipped, 80, seed=77, temperature=temperature):
        assert item.position == len(tokens) - 1
        outputs = golden.outputs(np.array([tokens]))
        logits, unit = golden.noisy(outputs)[0, -1], golden.unit(outputs)[0, -1]
        values = np.array([next(noise) for _ in range(vocabulary)])
        # In nats, and exact: rounding may decide only between nearly equal logits.
        exact = logits * unit + values / 128 * temperature
        slack = 2 * unit + shipped.logit_unit + temperature * np.abs(values).max() / 128 / 512
        assert exact[item.token] >= exact.max() - slack
        assert item.last == (item.token == bos or item.position == shipped.config.context - 1)
        tokens = [bos] if item.last else [*tokens, item.token]


def softmax(logits):
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


def chances(golden, outputs, temperature):
    """Return every token's exact probability, with equally likely entries of the noise table."""
    noise = golden.scaled_noise(NOISE_TABLE, golden.model.noise_scale(temperature))
    noisy = np.sort(golden.noisy(Outputs(*(value[:, None] for value in outputs)), noise))
    won = np.ones(noisy.shape)
    for i, j in itertools.permutations(range(len(noisy)), 2):
        # Among equals the first is drawn.
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
    # Maximum mean distance from the float model's probabilities, and from those of integer logits.
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
        shift = golden.model.layers[-1].shifts["offset"]
        exact = values["root"] * (values["direct"] + values["noise"]) / 2**shift
        assert np.abs(values["offset"] - exact).max() <= 0.5


def test_greedy_decoding_ignores_the_seed(quantised):
    model = quantised("names")
    first = generated(model, 40, temperature=0, seed=5)
    assert generated(model, 40, temperature=0, seed=6) == first
    assert generated(model, 40, seed=5) != generated(model, 40, seed=6)


def test_bad_requests_are_refused(quantised):
    model = quantised("names")
    with pytest.raises(UserError, match=r"16 tokens but .* room for 15"):
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
