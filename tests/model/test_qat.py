"""Quantisation-aware training needs the extra ``train``; so does every test here."""

import numpy as np
import pytest

from gptloom.model.checkpoint import load_checkpoint, shipped_checkpoints
from gptloom.model.qat import PEAK, Grid
from gptloom.model.quantise import quantise
from gptloom.model.scales import weight_scales

pytestmark = pytest.mark.train


def tensors(checkpoint):
    import torch

    return {
        name: torch.tensor(weight, requires_grad=True)
        for name, weight in checkpoint.weights.items()
    }


@pytest.mark.parametrize("name", shipped_checkpoints())
def test_training_sees_the_integers_of_the_quantiser(name):
    checkpoint = load_checkpoint(name)
    weights = tensors(checkpoint)
    factors = weight_scales(checkpoint.config, checkpoint.weights).factors
    seen = {
        name: weight.detach().numpy() * factors[name]
        for name, weight in Grid(checkpoint.config, weights).round(weights).items()
    }
    model = quantise(checkpoint)
    assert model.weights.keys() == seen.keys()
    for name, values in model.weights.items():
        assert np.abs(seen[name] - np.rint(seen[name])).max() < 1e-3
        difference = np.abs(np.rint(seen[name]) - values)
        # In single precision a weight halfway between two integers may be rounded the other way.
        assert difference.max() <= 1
        assert difference.sum() <= 1


def test_the_gradient_passes_as_if_nothing_were_rounded():
    checkpoint = load_checkpoint("names")
    weights = tensors(checkpoint)
    rounded = Grid(checkpoint.config, weights).round(weights)
    sum((index + 1) * weight.sum() for index, weight in enumerate(rounded.values())).backward()
    for index, weight in enumerate(weights.values()):
        assert (weight.grad == index + 1).all()


def test_outliers_are_clipped_to_the_first_peak():
    checkpoint = load_checkpoint("names")
    weights = tensors(checkpoint)
    grid = Grid(checkpoint.config, weights)
    rms = {name: float(weight.detach().square().mean().sqrt()) for name, weight in weights.items()}
    for weight in weights.values():
        weight.data *= 100
    grid.limit(weights)
    for name, weight in weights.items():
        assert float(weight.detach().abs().max()) == pytest.approx(PEAK * rms[name])
