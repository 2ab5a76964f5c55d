"""Bad input to ``gptloom train``; what it does with good input is in tests/model."""

import importlib.util

import pytest
import typer

from gptloom.cli import train as train_module
from gptloom.cli.train import command_line, conclude, train
from gptloom.firmware.image import build_image
from gptloom.firmware.machine import LANES, Machine
from gptloom.model.config import ModelConfig
from gptloom.model.errors import UserError
from gptloom.model.family import Family
from gptloom.model.loss_curve import LossCurve
from gptloom.model.positions import Positions
from gptloom.model.recipe import RECIPES


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
        ({"one_text": True, "context": 1000}, "too few for rows of 1000"),
        ({"kv_heads": 2}, "a microGPT has neither rotary positions nor kv_heads"),
        ({"tied": True}, "give the family llama"),
        ({"positions": Positions.ROTARY}, "give the family llama"),
        ({"family": Family.LLAMA, "positions": Positions.ALIBI}, "has rotary positions"),
        ({"family": Family.LLAMA, "kv_heads": 3}, "4 heads cannot share 3"),
        ({"family": Family.LLAMA, "head_dim": 3}, "turn pairs"),
        ({"family": Family.LLAMA, "theta": 0.0}, "theta"),
    ],
)
def test_bad_options_are_refused_and_nothing_is_written(text_file, tmp_path, options, fault):
    with pytest.raises(UserError, match=fault):
        train(tmp_path / "out.safetensors", str(text_file), **options)
    assert [entry.name for entry in tmp_path.iterdir()] == [text_file.name]


def test_a_llama_that_no_core_can_have_is_refused(text_file, tmp_path, first_step):
    with pytest.raises(UserError, match="width 2048 is 1024 more"):
        train(tmp_path / "out.safetensors", str(text_file), family=Family.LLAMA, width=2048)
    assert not first_step


def test_one_text_is_for_a_file(tmp_path):
    with pytest.raises(UserError, match="--one-text is for a file: give it with --corpus"):
        train(tmp_path / "out.safetensors", one_text=True)


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
    # The first missing package of the extra is named, also on a machine without any.
    with pytest.raises(UserError, match=r"Training needs .*pip install 'gptloom\[train\]'"):
        train(tmp_path / "out.safetensors", str(text_file))
    assert [entry.name for entry in tmp_path.iterdir()] == [text_file.name]


@pytest.fixture
def first_step(monkeypatch):
    """Replace training, which needs the extra; return the arguments it was called with."""
    calls = []

    def begin(corpus, config, settings, command, progress):
        calls.append((corpus, config, settings, command))
        raise KeyboardInterrupt

    monkeypatch.setattr(train_module, "train_checkpoint", begin)
    monkeypatch.setattr(train_module, "require_extra", lambda: None)
    return calls


def test_what_no_core_takes_is_refused_before_the_first_step(
    text_file, tmp_path, first_step, random_model
):
    shape = {"width": 10, "heads": 2, "context": 24}
    with pytest.raises(UserError) as raised:
        train(tmp_path / "out.safetensors", str(text_file), **shape)
    assert not first_step
    # The characters of the file: ten digits, a space, and those of the word.
    config = ModelConfig(**shape, vocabulary=len(set("document 0123456789")) + 1)
    with pytest.raises(UserError) as of_image:
        build_image(random_model(config), Machine.for_models(LANES[-1], config))
    assert str(of_image.value) in str(raised.value)


def test_what_it_will_run_on_is_said_before_the_first_step(text_file, tmp_path, first_step, capsys):
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "out.safetensors", str(text_file))
    said = capsys.readouterr().out
    assert f"{', '.join(map(str, LANES))} lanes" in " ".join(said.split())
    assert "ulx3s-25f" in said
    assert "unrolled core" in said
    assert len(first_step) == 1


def test_what_is_cut_left_out_and_odd_is_said_before_the_first_step(tmp_path, first_step, capsys):
    file = tmp_path / "names.txt"
    names = [f"name{chr(97 + i)}{chr(97 + j)}" for i in range(20) for j in range(20)]
    file.write_text("\n".join(["Zoë", "mi\0a", "maximilian alexander", *names]), "utf-8")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "out.safetensors", str(file))
    said = capsys.readouterr().err
    assert "U+0000 in line 2" in said
    assert "'maximilian alexander'" in said
    assert "' ' in 1, 'Z' in 1, 'x' in 1, 'ë' in 1" in said
    ((corpus, config, _, _),) = first_step
    assert "mia" in corpus.documents
    assert config.vocabulary == len(set("abcdefghijklmnopqrst xZoë")) + 1

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "out.safetensors", str(file), ascii_only=True, lower=True)
    corpus, config, _, command = first_step[1]
    assert corpus.documents[0] == "zoe"
    assert config.vocabulary == len(set("abcdefghijklmnopqrst xz")) + 1
    assert " --ascii --lower " in command


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, (50, 11)), ({"steps": 70}, (70, 11)), ({"quantise_aware_steps": 0}, (50, 0))],
)
def test_a_small_corpus_takes_few_steps_unless_told_otherwise(
    text_file, tmp_path, first_step, options, expected
):
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "out.safetensors", str(text_file), **options)
    ((_, _, settings, command),) = first_step
    assert (settings.steps, settings.quantise_aware_steps) == expected
    assert f" --steps {expected[0]} " in command
    assert f" --quantise-aware-steps {expected[1]} " in command


def test_a_llama_has_its_own_settings_and_no_options_that_nobody_gave(
    text_file, tmp_path, first_step, capsys
):
    options = {"family": Family.LLAMA, "kv_heads": 2, "one_text": True, "hidden": 30}
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "out.safetensors", str(text_file), **options)
    ((corpus, config, settings, command),) = first_step
    assert corpus.text == text_file.read_text("utf-8") + "\n"
    assert (config.positions, config.kv_heads, config.head_dim) == (Positions.ROTARY, 2, None)
    recipe = RECIPES[Family.LLAMA]
    assert (settings.batch, settings.learning_rate) == (recipe.batch, recipe.learning_rate)
    assert settings.quantise_aware_steps == 0
    assert " --one-text " in command
    assert " --positions rotary --family llama --kv-heads 2 --theta 10000.0 --steps " in command
    said = capsys.readouterr()
    assert "trained, but not run by hardware: hidden 30 does not divide into fours" in said.err
    assert "kv_heads 2" in said.out


def test_options_that_are_off_are_no_part_of_the_command():
    words = command_line("train", {"ascii": False, "lower": True, "steps": 0, "seed": None})
    assert words == "gptloom train --lower --steps 0"


def test_an_interrupt_is_told_and_ends_with_its_code(capsys):
    with pytest.raises(typer.Exit) as end:
        conclude(LossCurve([1.0] * 1200, {}, kept=800, interrupted=True), 14_000)
    assert end.value.exit_code == 130
    said = capsys.readouterr().err
    assert "1,200 of 14,000 steps were made" in said
    assert "step 800" in said


@pytest.mark.parametrize(
    ("made", "kept", "said"),
    [(100, 100, ""), (100, 60, "step 60"), (40, 20, "no longer fell")],
)
def test_what_was_kept_of_a_whole_run_is_told(capsys, made, kept, said):
    conclude(LossCurve([1.0] * made, {}, kept=kept), 100)
    assert said in capsys.readouterr().err
