"""Costs by approximation: measured on the golden model's own graph."""

from dataclasses import replace

import numpy as np
import pytest

from gptloom.model.checkpoint import load_checkpoint, shipped_checkpoints
from gptloom.model.config import ModelConfig
from gptloom.model.costs import approximation_costs, approximations
from gptloom.model.family import Family
from gptloom.model.float_model import FloatModel
from gptloom.model.formats import PROFILES
from gptloom.model.golden import GoldenModel
from gptloom.model.llama_quantise import quantise_llama
from gptloom.model.loss import closeness, log_softmax
from gptloom.model.quantise import integer_loss, quantise
from verification.llama import make_checkpoint


@pytest.fixture(params=shipped_checkpoints(), scope="module")
def checkpoint(request):
    return load_checkpoint(request.param)


@pytest.fixture(scope="module")
def rows(checkpoint):
    return checkpoint.calibration[:100]


@pytest.fixture(scope="module")
def model(checkpoint):
    return quantise(checkpoint)


@pytest.fixture(scope="module")
def costs(checkpoint, model, rows):
    return approximation_costs(checkpoint, model, rows)


def test_without_approximations_it_is_the_float_model(checkpoint, rows, costs):
    exact = FloatModel(checkpoint.config, checkpoint.weights).loss(rows)
    # The float model adds an epsilon to its mean squares.
    assert costs.exact == pytest.approx(exact, abs=1e-4)


def test_with_all_approximations_it_is_the_golden_model(model, rows, costs):
    all_of_them = costs.exact + costs.together["all"]
    assert all_of_them == pytest.approx(integer_loss(model, rows), abs=1e-12)


def test_every_approximation_is_named_and_measured_once(checkpoint, model, costs):
    names = [cost.site for cost in costs.sites]
    assert len(set(names)) == len(names)
    assert names == [cost.site for cost in approximations(model)]
    assert {*checkpoint.weights} - {"wte", "wpe"} <= {*names}
    sites = ("q", "k", "v", "score", "mix", "out", "hidden", "mlp")
    layers = range(checkpoint.config.layers)
    assert {f"{index}.{name}" for index in layers for name in sites} <= {*names}
    assert {"embeddings", "start", "logits", "rsqrt", "exp2", "reciprocal"} <= {*names}
    assert all(cost.nats != 0 for cost in costs.sites)


def test_a_site_that_saturates_stands_out():
    checkpoint = load_checkpoint("names")
    model, rows = quantise(checkpoint), checkpoint.calibration[:50]
    # Values three bits finer, and shifted back where they are used.
    moved = {(0, "v"): -3, (0, "mix"): 3}
    shifts = {key: shift + moved.get(key, 0) for key, shift in model.shifts.items()}
    changed = replace(model, shifts=shifts)
    told = []
    costs = approximation_costs(checkpoint, changed, rows, lambda *done: told.append(done))
    assert told == [(done, len(costs.sites)) for done in range(1, len(costs.sites) + 1)]
    assert max(costs.sites, key=lambda cost: cost.nats).site == "0.v"


TEXT = ModelConfig(
    layers=2, width=16, heads=4, kv_heads=2, head_dim=6, hidden=20, context=24, vocabulary=30,
    tied=True, epsilon=1e-9, family=Family.LLAMA, positions="rotary",
)  # fmt: skip


@pytest.mark.parametrize("profile", PROFILES)
def test_of_text_they_are_divergences_from_the_float_model(profile):
    checkpoint = make_checkpoint(TEXT)
    model, rows = quantise_llama(checkpoint, PROFILES[profile]), checkpoint.calibration
    exact = FloatModel(TEXT, checkpoint.weights)
    costs = approximation_costs(checkpoint, model, rows)
    # Nothing is lost without approximations; with all it is the golden model.
    predicted = log_softmax(exact.logits(rows[:, :-1].astype(np.int64)))
    entropy = -(np.exp(predicted) * predicted).sum(axis=-1).mean()
    assert costs.exact == pytest.approx(entropy, abs=1e-6)
    kl = closeness(exact, GoldenModel(model), rows).kl
    assert costs.together["all"] == pytest.approx(kl, abs=1e-6)
    names = [cost.site for cost in costs.sites]
    assert len(set(names)) == len(names)
    assert {*checkpoint.weights} - {"wte"} <= {*names}
    sites = ("input", "q", "k", "v", "score", "mix", "out", "middle", "gate", "up", "mlp")
    assert {f"{layer}.{site}" for layer in range(2) for site in sites} <= {*names}
    assert {"embeddings", "embedding", "final", "logits", "rotation", "silu", "exp2"} <= {*names}
    # A divergence is never negative, and each alone is less than all.
    own = [cost.nats for cost in costs.sites if cost.site not in ("exp2", "silu")]
    assert min(own) > -1e-6
    assert max(own) < kl
