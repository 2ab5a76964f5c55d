"""`gptloom generate`, `image` and `budget`: output, files and refusals."""

import json
from importlib import resources

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from gptloom.cli.main import main
from gptloom.model.loss import CALIBRATION, loss_label

# Most of them simulate the core that further modules simulate; one process compiles it.
pytestmark = pytest.mark.xdist_group("names, 16 lanes")

FIELDS = {
    "text", "texts", "names", "tokens", "cache", "cycles", "cycles_per_token", "mhz",
    "cycles_by_position", "cycles_per_prompt_token", "tokens_per_second", "engine", "core", "lanes",
    "checkpoint", "float_loss", "integer_loss", "kl", "equal_to_golden",
}  # fmt: skip


def test_generate_prints_names_and_figures_and_writes_the_same(tmp_path, capsys):
    file = tmp_path / "result.json"
    assert not main(["generate", "--count", "6", "--json", str(file)])
    printed = capsys.readouterr().out
    result = json.loads(file.read_text())
    assert set(result) == FIELDS
    assert len(result["names"]) == 6
    for name in result["names"]:
        assert f"\n{name}\n" in printed
    assert f"{result['tokens_per_second']:,}" in printed
    assert result["equal_to_golden"] is True
    assert result["cycles_per_token"] == pytest.approx(
        result["cycles"] / result["tokens"], abs=1e-3
    )
    assert result["tokens_per_second"] == round(80e6 * result["tokens"] / result["cycles"])
    # The must for 16 lanes, on whole documents.
    assert result["cycles_per_token"] <= 400


@pytest.mark.parametrize(
    ("measured_on", "label"), [(CALIBRATION, "calibration"), ("3,000 names", "held-out")]
)
def test_a_loss_is_called_by_what_it_was_measured_on(measured_on, label):
    assert loss_label(measured_on) == f"{label} loss, integer"


def test_generate_is_repeatable_and_follows_the_prompt(tmp_path):
    results = []
    for name in ("one", "two"):
        file = tmp_path / name
        options = ["--count", "3", "--prompt", "jo", "--seed", "7", "--json", str(file)]
        assert not main(["generate", *options])
        results.append(json.loads(file.read_text()))
    assert results[0] == results[1]
    assert all(name.startswith("jo") for name in results[0]["names"])


def test_generate_writes_a_waveform_and_says_how_to_open_it(tmp_path, capsys):
    file = tmp_path / "names.vcd"
    assert not main(["generate", "--count", "1", "--wave", str(file)])
    assert file.stat().st_size > 10_000
    assert f"gtkwave {tmp_path / 'names.gtkw'}" in capsys.readouterr().out


def test_an_image_goes_through_a_file(tmp_path, capsys):
    image = str(tmp_path / "names.img")
    assert not main(["image", "--lanes", "16", "--out", image])
    assert not main(["image", "--check", image])
    assert "CRC-32" in capsys.readouterr().out
    assert not main(["generate", "--count", "1", "--image", image])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--prompt", "zoé"], "not in the vocabulary"),
        (["--prompt", "a" * 16], "leaves room for 15"),
        (["--temperature", "0.05"], "out of range"),
        (["--temperature", "2.5"], "out of range"),
        (["--temperature", "nan"], "out of range"),
        (["--seed", "0"], "seed 0 is not usable"),
        (["--seed", "4294967296"], "not usable"),
        (["--lanes", "12"], "choose one of 8, 16, 32, 64"),
        (["--count", "0"], "ask for 1 or more"),
        (["--engine", "magic"], "choose one of auto, cxxrtl, pysim"),
        (["--checkpoint", "nothing"], "names-24"),
        (["--image", "absent.img"], "cannot read the image"),
        (["--json", "absent/result.json"], "no folder absent"),
        (["--wave", "absent/names.vcd"], "no folder absent"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(
    tmp_path, monkeypatch, capsys, options, message
):
    monkeypatch.chdir(tmp_path)
    assert main(["generate", *options]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("gptloom: error:") == 1
    assert "Traceback" not in captured.err
    assert not list(tmp_path.iterdir())


def test_damaged_images_are_refused(tmp_path, capsys):
    file = tmp_path / "names.img"
    assert not main(["image", "--out", str(file)])
    whole = file.read_bytes()
    for damaged, message in (
        (whole[:-1], "truncated"),
        (whole[:10], "not a GPTLoom image"),
        (whole[:500] + bytes([whole[500] ^ 1]) + whole[501:], "corrupt"),
        (b"ELF" + whole[3:], "not a GPTLoom image"),
    ):
        file.write_bytes(damaged)
        assert main(["generate", "--image", str(file)]) == 2
        assert message in capsys.readouterr().err


def test_an_image_for_other_hardware_or_another_checkpoint_is_refused(tmp_path, capsys):
    file = str(tmp_path / "names.img")
    assert not main(["image", "--lanes", "64", "--out", file])
    assert main(["generate", "--image", file]) == 2
    assert "made for 64 lanes, the hardware has 16" in capsys.readouterr().err
    assert main(["generate", "--image", file, "--lanes", "64", "--checkpoint", "names-24"]) == 2
    assert "not made from the checkpoint names-24" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda w: w.update({"wte": w["wte"][:, :8].copy()}), "wte"),
        (lambda w: w.update({"lm_head": np.full_like(w["lm_head"], np.nan)}), "lm_head"),
        (lambda w: w.pop("wpe"), "wpe"),
    ],
)
def test_checkpoints_with_wrong_shapes_or_numbers_are_refused(tmp_path, capsys, damage, message):
    file = damaged(tmp_path / "broken.safetensors", damage)
    assert main(["generate", "--checkpoint", str(file)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def damaged(file, damage, without=()):
    """Write the checkpoint `names` with other tensors, and without some of the metadata."""
    shipped = resources.files("gptloom.model") / "checkpoints" / "names.safetensors"
    weights = load_file(shipped)
    with safe_open(shipped, "numpy") as opened:
        metadata = {k: v for k, v in opened.metadata().items() if k not in without}
    damage(weights)
    save_file(weights, file, metadata)
    return file


def transpose(weights):
    weights["layer0.attn_wo"] = np.ascontiguousarray(weights["layer0.attn_wo"].T)


def reverse(weights):
    """Reverse the rows of the token embedding."""
    weights["wte"] = np.ascontiguousarray(weights["wte"][::-1])


@pytest.mark.parametrize(
    ("damage", "without", "message"),
    [
        (transpose, (), "does not compute what it did when it was saved"),
        (reverse, ("fingerprint",), "these are not the weights that were trained"),
    ],
)
def test_weights_that_are_not_those_of_the_metadata_are_refused(
    tmp_path, capsys, damage, without, message
):
    file = damaged(tmp_path / "other.safetensors", damage, without)
    assert main(["generate", "--count", "1", "--checkpoint", str(file)]) == 2
    out, error = capsys.readouterr()
    assert message in error
    assert error.count("gptloom: error:") == 1
    assert "2.1062" not in out


def test_a_stated_loss_is_not_shown_as_that_of_other_weights(tmp_path, capsys):
    def change(weights):
        weights["lm_head"] = weights["lm_head"] * np.float32(0.8)

    file = damaged(tmp_path / "other.safetensors", change, ("fingerprint",))
    assert not main(["quantize", "--checkpoint", str(file)])
    out, error = capsys.readouterr()
    assert error.count("gptloom: warning: the metadata of other state a loss of 2.1067") == 1
    assert "2.1062" not in out + error


def test_budget_prints_prediction_beside_measurement(capsys):
    assert not main(["budget", "--lanes", "16"])
    assert "| softmax | 23 / 23 |" in capsys.readouterr().out
