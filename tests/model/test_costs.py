"""Costs by approximation: measured on the golden model's own graph."""

from dataclasses import replace

import pytest

from gptloom.model.checkpoint import load_checkpoint, shipped_checkpoints
from gptloom.model.costs import approximation_costs, approximations
from gptloom.model.float_model import FloatModel
from gptloom.model.quantise import integer_loss, quantise


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
