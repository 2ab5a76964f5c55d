"""From checkpoints to merged integers: losses, determinism, and refusals."""

from dataclasses import replace

import numpy as np
import pytest

from gptloom.model.checkpoint import load_checkpoint, shipped_checkpoints
from gptloom.model.config import ModelConfig
from gptloom.model.corpus import heldout_documents
from gptloom.model.errors import UserError
from gptloom.model.float_model import FloatModel
from gptloom.model.formats import CacheScale
from gptloom.model.loss import golden_loss
from gptloom.model.merged.golden import GoldenModel
from gptloom.model.merged.integer import LATER_SHIFTS, SHIFTS, Widths
from gptloom.model.merged.quantise import quantise

pytestmark = pytest.mark.nightly

LOST = {"names": 0.002, "names-24": 0.002, "names-2l": 0.003}
"""Maximum loss above floating point, in nats per token."""


def test_integers_lose_two_or_three_thousandths_of_a_nat(shipped):
    checkpoint = load_checkpoint(shipped.metadata["checkpoint"])
    rows = checkpoint.tokenizer.rows(heldout_documents(), checkpoint.config.context)
    loss = golden_loss(GoldenModel(shipped), rows)
    stated = checkpoint.metadata["heldout"]
    bar = min(
        stated["loss"],
        stated["float_phase_loss"],
        FloatModel(checkpoint.config, checkpoint.weights).loss(rows),
    )
    assert loss <= bar + LOST[checkpoint.name]
    assert shipped.metadata["integer_loss"] == pytest.approx(loss, abs=1e-12)
    assert shipped.metadata["float_loss"] == pytest.approx(bar, abs=1e-6)


def test_quantising_is_deterministic(quantised):
    first, again = quantised("names"), quantise(load_checkpoint("names"))
    assert again.metadata == first.metadata
    (one,), (two,) = again.layers, first.layers
    assert one.shifts == two.shifts
    assert (one.weights["b"] == two.weights["b"]).all()
    assert (again.table["fx"] == first.table["fx"]).all()


# Maximum loss above the float loss of the checkpoint that each was refined from.
REFINED = {
    **{"names-w6": 0.002, "names-w5": 0.006, "names-w4": 0.011},
    **{"names-kv5": 0.0035, "names-kv4": 0.009},
}


def test_refined_checkpoints_are_shipped():
    assert set(shipped_checkpoints("merged")) == set(REFINED)


@pytest.mark.parametrize("name", shipped_checkpoints("merged"))
def test_refined_checkpoints_lose_what_is_stated(quantised, name):
    checkpoint = load_checkpoint(name)
    training = checkpoint.metadata["training"]
    start = load_checkpoint(training["start"])
    stated = quantised(name).metadata
    bar = start.metadata["heldout"]["float_phase_loss"]
    assert stated["float_loss"] == pytest.approx(bar, abs=1e-6)
    assert stated["integer_loss"] <= bar + REFINED[name]
    rows = checkpoint.tokenizer.rows(heldout_documents(), checkpoint.config.context)
    loss = FloatModel(checkpoint.config, checkpoint.weights).loss(rows)
    assert checkpoint.metadata["heldout"]["loss"] == pytest.approx(loss, abs=1e-6)
    assert (checkpoint.calibration == start.calibration).all()


def test_without_refinement_few_bits_lose_more(quantised):
    metadata = quantised("names", Widths(weights=4)).metadata
    lost = metadata["integer_loss"] - metadata["float_loss"]
    assert lost == pytest.approx(0.0236, abs=5e-4)


@pytest.mark.parametrize(
    ("bits", "lost"),
    [
        (dict(keys=6, values=6), 0.0022),
        (dict(keys=5, values=5), 0.0047),
        (dict(keys=4, values=4), 0.0143),
        (dict(keys=4), 0.0065),
        (dict(values=4), 0.0095),
        (dict(keys=4, values=4, cache_scale=CacheScale.HEAD), 0.0194),
        (dict(keys=4, values=4, cache_scale=CacheScale.TENSOR), 0.0286),
    ],
)
def test_narrow_keys_and_values_lose_what_is_stated(quantised, bits, lost):
    metadata = quantised("names", Widths(**bits)).metadata
    assert metadata["integer_loss"] - metadata["float_loss"] == pytest.approx(lost, abs=2e-4)


def assert_numbers_fit(model):
    groups = [({name: value}, model.widths.of_entry(name)) for name, value in model.table.items()]
    groups += [(layer.weights, model.widths.weights) for layer in model.layers]
    for arrays, bits in groups:
        limit = (1 << (bits - 1)) - 1
        for values in arrays.values():
            assert values.dtype == np.int64
            assert np.abs(values).max() <= limit
    # These fill their formats for any network; the others have the resolution of their neighbours.
    for name in ("q", "k", "v"):
        assert np.abs(model.table[name]).max() > 1 << (model.widths.of_entry(name) - 2)
    for index, layer in enumerate(model.layers):
        for name in ("a1", "a2", "b"):
            assert np.abs(layer.weights[name]).max() >= 1 << (model.widths.weights - 2)
        assert set(layer.shifts) == set(LATER_SHIFTS if index else SHIFTS)
        assert min(layer.shifts.values()) >= 0


def test_numbers_fit_the_formats_of_shipped_models(shipped):
    assert_numbers_fit(shipped)


def test_numbers_fit_the_formats_of_random_models(random_model):
    assert_numbers_fit(random_model)


def test_untrained_networks_stay_close_too(random_model):
    metadata = random_model.metadata
    assert metadata["integer_loss"] == pytest.approx(metadata["float_loss"], rel=0.02)
    assert metadata["loss_set"] == "calibration documents of the checkpoint"


@pytest.mark.parametrize("size", [0.02, 0.1, 0.8])
def test_small_and_large_weights_can_be_quantised(random_checkpoint, size):
    checkpoint = random_checkpoint(ModelConfig(), size)
    model = quantise(checkpoint)
    assert_numbers_fit(model)
    assert model.metadata["integer_loss"] == pytest.approx(model.metadata["float_loss"], rel=0.05)


def test_weights_beyond_the_formats_are_refused(random_checkpoint):
    checkpoint = random_checkpoint(ModelConfig())
    large = {**checkpoint.weights, "layer0.attn_wq": 1e6 * checkpoint.weights["layer0.attn_wq"]}
    with pytest.raises(UserError, match="too unlike in size"):
        quantise(replace(checkpoint, weights=large))


@pytest.mark.parametrize(
    ("name", "bits"),
    [("weights", 1), ("weights", 11), ("activations", 3), ("keys", 3), ("values", 17)],
)
def test_widths_out_of_range_are_refused(name, bits):
    with pytest.raises(UserError, match=f"{bits} bits are no width for {name}"):
        Widths(**{name: bits})
