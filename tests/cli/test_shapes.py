"""Shapes that no folded core computes: every command refuses them in the same words."""

import numpy as np
import pytest

from gptloom.cli import train as train_module
from gptloom.cli.main import main
from gptloom.model.checkpoint import Checkpoint, save_checkpoint
from gptloom.model.config import ModelConfig
from gptloom.model.errors import UserError
from gptloom.model.tokenizers.characters import Characters

SHAPES = [
    (dict(width=18, heads=2), "width 18 does not divide into fours: use 16 or 20"),
    (dict(hidden=30), "hidden 30 does not divide into fours: use 28 or 32"),
    (dict(context=10), "context 10 does not divide into fours: use 8 or 12"),
    (
        dict(layers=17, width=4, heads=1),
        "layers 17 is 1 more than a folded core can have: use at most 16",
    ),
    (dict(context=1028), "context 1028 is 4 more than a folded core can have: use at most 1024"),
]
COMMANDS = [
    ["generate", "--count", "1"],
    ["image", "--out", "made.loom"],
    ["estimate", "--board", "ulx3s-25f", "--lanes", "16"],
    ["build", "--board", "ulx3s-25f", "--lanes", "16", "--folder", "made"],
    ["budget", "--lanes", "16"],
    ["attend", "--json", "made.json"],
    ["verilog", "--out", "made.v"],
]
LETTERS = Characters("abcdefghijklmnopqrstuvwxyz")


@pytest.mark.parametrize(("shape", "sentence"), SHAPES)
def test_every_command_says_the_same(shape, sentence, tmp_path, monkeypatch, capsys):
    config = ModelConfig(**shape)
    rng = np.random.default_rng(1)
    weights = {name: rng.normal(0, 0.1, size) for name, size in config.weight_shapes().items()}
    documents = ["anna", "bert"] * 8
    calibration = LETTERS.rows(documents, config.context)
    monkeypatch.chdir(tmp_path)
    save_checkpoint("shape.safetensors", Checkpoint(config, LETTERS, weights, calibration))
    before = sorted(tmp_path.iterdir())
    for command in COMMANDS:
        assert main([*command, "--checkpoint", "shape.safetensors"]) == 2, command
        said = " ".join(capsys.readouterr().err.split())
        assert sentence in said, command
        assert "Traceback" not in said
        assert sorted(tmp_path.iterdir()) == before, command


@pytest.mark.parametrize(("shape", "sentence"), SHAPES)
def test_training_says_it_before_its_first_step(shape, sentence, tmp_path, monkeypatch, capsys):
    """Where the unrolled core takes the shape, training goes on after the sentence."""
    heard = []

    def begin(*_):
        heard.append(" ".join(capsys.readouterr().out.split()))
        raise UserError("no further")

    monkeypatch.setattr(train_module, "train_checkpoint", begin)
    monkeypatch.setattr(train_module, "require_extra", lambda: None)
    monkeypatch.setenv("COLUMNS", "200")
    corpus = tmp_path / "words.txt"
    corpus.write_text("".join(f"word{'abcdefgh'[i % 8] * (i % 5)}\n" for i in range(200)))
    shape = {"width": 16, "heads": 2, "hidden": 64, "context": 16} | shape
    options = [word for name, size in shape.items() for word in (f"--{name}", str(size))]
    out = tmp_path / "made.safetensors"
    assert main(["train", "--corpus", str(corpus), *options, "--out", str(out)]) == 2
    refusal = " ".join(capsys.readouterr().err.split())
    assert sentence in (heard[0] if heard else refusal)
    assert bool(heard) == (shape["context"] == 16)
    assert [*tmp_path.iterdir()] == [corpus]
