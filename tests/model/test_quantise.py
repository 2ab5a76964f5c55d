"""Quantising: its accuracy, and that scales alone change nothing."""

from dataclasses import replace

import numpy as np
import pytest

from gptloom.model.checkpoint import Checkpoint, load_checkpoint, shipped_checkpoints
from gptloom.model.config import ModelConfig
from gptloom.model.corpus import heldout_documents
from gptloom.model.errors import UserError
from gptloom.model.float_model import FloatModel
from gptloom.model.formats import CacheFormat, Precision, RowFormat
from gptloom.model.golden import GoldenModel
from gptloom.model.quantise import integer_loss, on_grid, quantise
from gptloom.model.scales import MAX_SHIFT, WEIGHT_LIMIT, weight_scales
from gptloom.model.tokenizers.characters import Characters

SHAPES = [ModelConfig.MICROGPT, ModelConfig.GATEGPT, ModelConfig.TWO_LAYER]
PATHS = (("attn_wq", "attn_wk"), ("attn_wv", "attn_wo"), ("mlp_fc1", "mlp_fc2"))


def random_checkpoint(config, size=0.4, seed=0):
    random = np.random.default_rng(seed)
    weights = {
        name: random.normal(0, size, shape).astype(np.float32)
        for name, shape in config.weight_shapes().items()
    }
    rows = random.integers(0, config.vocabulary, (32, config.context + 1)).astype(np.int16)
    characters = "".join(map(chr, range(97, 96 + config.vocabulary)))
    return Checkpoint(config, Characters(characters), weights, rows)


@pytest.fixture(scope="module", params=shipped_checkpoints())
def shipped(request):
    checkpoint = load_checkpoint(request.param)
    return checkpoint, quantise(checkpoint)


def test_integers_lose_at_most_two_thousandths_of_a_nat(shipped):
    checkpoint, model = shipped
    rows = checkpoint.tokenizer.rows(heldout_documents(), checkpoint.config.context)
    loss = integer_loss(model, rows)
    stated = checkpoint.metadata["heldout"]
    # Neither a phase of training nor the metadata may make the comparison easier.
    bar = min(
        stated["loss"],
        stated["float_phase_loss"],
        FloatModel(checkpoint.config, checkpoint.weights).loss(rows),
    )
    assert loss <= bar + 0.002
    assert model.metadata["integer_loss"] == pytest.approx(loss, abs=1e-12)
    assert model.metadata["float_loss"] == pytest.approx(bar, abs=1e-6)
    assert model.metadata["loss_set"] == stated["set"]
    assert model.metadata["checkpoint"] == checkpoint.name


def test_quantising_is_deterministic(shipped):
    checkpoint, model = shipped
    again = quantise(checkpoint)
    assert again.metadata == model.metadata
    assert again.shifts == model.shifts
    for name, weights in model.weights.items():
        assert (again.weights[name] == weights).all()


def test_numbers_fit_the_formats(shipped):
    checkpoint, model = shipped
    assert model.weights.keys() == checkpoint.weights.keys()
    assert all(1 <= shift <= MAX_SHIFT for shift in model.shifts.values())
    for table in model.weights.values():
        assert table.dtype == np.int64
        assert np.abs(table).max() <= WEIGHT_LIMIT
        # 8 bits are used, not just allowed.
        assert np.abs(table).max() > WEIGHT_LIMIT // 2


@pytest.mark.parametrize(("weights", "cached", "nats"), [(8, 6, 0.02), (6, 8, 0.2)])
def test_weights_and_cache_have_bits_of_their_own(weights, cached, nats):
    """Both use their full range, and a trained network keeps its loss."""
    checkpoint = load_checkpoint("names")
    rows = RowFormat(cached)
    model = quantise(checkpoint, Precision(weights, CacheFormat(rows, rows)))
    largest = (1 << weights - 1) - 1
    for table in model.weights.values():
        assert largest // 2 < np.abs(table).max() <= largest
    peak = {}

    def note(_, site, value):
        peak[site] = max(peak.get(site, 0), np.abs(value).max())

    GoldenModel(model).logits(np.maximum(checkpoint.calibration[:, :-1], 0), note)
    for site in ("k", "v"):
        assert 1 << cached - 2 < peak[site] <= 1 << cached - 1
    assert 0 < model.metadata["integer_loss"] - model.metadata["float_loss"] < nats


def test_widths_that_accumulators_do_not_hold_are_refused():
    for wrong in (lambda: Precision(10), lambda: RowFormat(1), lambda: RowFormat(10)):
        with pytest.raises(UserError, match="choose 2 to 9"):
            wrong()


@pytest.mark.parametrize("config", SHAPES, ids=str)
def test_scales_by_themselves_change_nothing(config):
    # Only the norm's epsilon depends on scale; the integers have none.
    config = replace(config, epsilon=0.0)
    checkpoint = random_checkpoint(config)
    scales = weight_scales(config, checkpoint.weights)
    scaled = on_grid(checkpoint, scales)
    for layer in range(config.layers):
        for first, second in PATHS:
            one = scales.factors[f"layer{layer}.{first}"].ravel()
            two = scales.factors[f"layer{layer}.{second}"].ravel()
            product = one * two
            np.testing.assert_allclose(product, product[0])
            scaled[f"layer{layer}.{second}"] /= product[0]
    scaled["lm_head"] /= scales.factors["lm_head"]
    tokens = np.random.default_rng(1).integers(0, config.vocabulary, (5, config.context))
    expected = FloatModel(config, checkpoint.weights).logits(tokens)
    np.testing.assert_allclose(FloatModel(config, scaled).logits(tokens), expected, atol=1e-9)


@pytest.mark.parametrize("config", SHAPES, ids=str)
def test_grids_are_filled_but_not_exceeded(config):
    checkpoint = random_checkpoint(config)
    scales = weight_scales(config, checkpoint.weights)
    grid = on_grid(checkpoint, scales)
    peak = {name: np.abs(values).max() for name, values in grid.items()}
    assert max(peak.values()) <= WEIGHT_LIMIT + 1e-9
    assert max(peak["wte"], peak["wpe"]) == pytest.approx(WEIGHT_LIMIT)
    assert peak["lm_head"] == pytest.approx(WEIGHT_LIMIT)
    for layer in range(config.layers):
        for first, second in PATHS:
            # Scales along a path differ from the exact fit by powers of two.
            product = peak[f"layer{layer}.{first}"] * peak[f"layer{layer}.{second}"]
            assert WEIGHT_LIMIT**2 / 2 <= product + 1e-6 <= WEIGHT_LIMIT**2 + 1


@pytest.mark.parametrize("config", SHAPES, ids=str)
def test_untrained_networks_stay_close_too(config):
    checkpoint = random_checkpoint(config)
    metadata = quantise(checkpoint).metadata
    assert metadata["integer_loss"] == pytest.approx(metadata["float_loss"], rel=0.01)
    assert metadata["loss_set"] == "calibration documents of the checkpoint"


@pytest.mark.parametrize("size", [0.0, 1e-6, 1.0])
def test_small_and_large_weights_can_be_quantised(size):
    model = quantise(random_checkpoint(ModelConfig(), size))
    assert all(1 <= shift <= MAX_SHIFT for shift in model.shifts.values())
    assert 1 <= model.logit_scale(0.1).shift <= 31
    assert 1 <= model.logit_scale(2.0).shift <= 31
    assert np.isfinite(model.metadata["integer_loss"])


def test_weights_beyond_the_formats_are_refused():
    checkpoint = random_checkpoint(ModelConfig())
    large = {**checkpoint.weights, "layer0.mlp_fc2": 1e4 * checkpoint.weights["layer0.mlp_fc2"]}
    with pytest.raises(UserError, match="weights of layer 0 are too large"):
        quantise(replace(checkpoint, weights=large))
