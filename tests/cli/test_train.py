"""Bad input to ``gptloom train``; what it does with good input is in tests/model."""

import importlib.util

import pytest

from gptloom.cli.train import train
from gptloom.model.errors import UserError


@pytest.fixture
def text_file(tmp_path):
    path = tmp_path / "documents.txt"
    path.write_text("\n".join(f"document {i}" for i in range(200)), "utf-8")
    return path


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"steps": 0}, "steps"),
        ({"batch": -1}, "batch"),
        ({"lr": 0.0}, "learning rate"),
        ({"lr": float("nan")}, "learning rate"),
        ({"seed": -1}, "seed"),
        ({"quantise_aware_steps": -1}, "quantisation-aware steps"),
        ({"heads": 3}, "heads"),
        ({"width": 18}, "width"),
    ],
)
def test_bad_options_are_refused_and_nothing_is_written(text_file, tmp_path, options, fault):
    with pytest.raises(UserError, match=fault):
        train(tmp_path / "out.safetensors", str(text_file), **options)
    assert [entry.name for entry in tmp_path.iterdir()] == [text_file.name]


def test_the_output_is_checked_before_training(text_file, tmp_path):
    with pytest.raises(UserError, match=r"\.safetensors"):
        train(tmp_path / "out.bin", str(text_file))
    with pytest.raises(UserError, match="no folder"):
        train(tmp_path / "absent" / "out.safetensors", str(text_file))
    (tmp_path / "out.png").write_text("mine")
    with pytest.raises(UserError, match=r"out\.png, where a file is"):
        train(tmp_path / "out.safetensors", str(text_file))
    assert (tmp_path / "out.png").read_text() == "mine"


@pytest.mark.parametrize("absent", ["torch", "matplotlib"])
def test_a_missing_extra_is_named_before_training(text_file, tmp_path, monkeypatch, absent):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == absent else find_spec(name)
    )
    # The first package of the extra that is not there is named, on a machine with none too.
    with pytest.raises(UserError, match=r"Training needs .*pip install 'gptloom\[train\]'"):
        train(tmp_path / "out.safetensors", str(text_file))
    assert [entry.name for entry in tmp_path.iterdir()] == [text_file.name]
