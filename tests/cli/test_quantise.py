"""``gptloom quantize``: output and files."""

import json
from pathlib import Path

import numpy as np
import pytest

from gptloom.cli.main import main
from gptloom.cli.quantise import quantize
from gptloom.model.checkpoint import Checkpoint, save_checkpoint
from gptloom.model.config import ModelConfig
from gptloom.model.errors import UserError
from gptloom.model.tokenizers.characters import Characters


def test_it_reports_losses_and_costs_alike_on_screen_and_in_the_file(tmp_path, capsys):
    file = tmp_path / "report.json"
    quantize("names", file)
    printed = capsys.readouterr().out
    report = json.loads(file.read_text())
    assert report["checkpoint"] == "names"
    assert f"{report['integer_loss']:.4f}" in printed
    assert f"{report['float_loss']:.4f}" in printed
    for cost in report["sites"]:
        assert cost["site"] in printed
        assert set(cost) == {"kind", "site", "bits", "shift", "nats"}
    shifts = {cost["site"]: cost["shift"] for cost in report["sites"]}
    assert shifts["0.q"] >= 1
    assert shifts["layer0.attn_wq"] is None


def test_it_reports_the_merged_form_alike_on_screen_and_in_the_file(tmp_path, capsys):
    file = tmp_path / "report.json"
    quantize("names", file, form="merged", bits=6)
    printed = capsys.readouterr().out
    report = json.loads(file.read_text())
    assert (report["form"], report["widths"]["weights"]) == ("merged", 6)
    for figure in ("float_loss", "integer_loss", "exact"):
        assert f"{report[figure]:.4f}" in printed
    assert f"{report['integer_loss'] - report['float_loss']:+.4f}" in printed
    for name in (*report["shifts"], *report["sums"]):
        assert name in printed


@pytest.mark.long
def test_narrow_keys_and_values_are_refused_unless_taken(tmp_path, capsys):
    file = tmp_path / "report.json"
    options = ["quantize", "--form", "merged", "--key-bits", "4", "--value-bits", "4"]
    assert main(options) == 1
    seen = capsys.readouterr()
    assert "4-bit keys and 4-bit values make another model" in seen.err
    assert "total variation" in seen.out
    assert main([*options, "--accept", "--json", str(file)]) == 0
    diagnosis = json.loads(file.read_text())["diagnosis"]
    assert len(diagnosis["faults"]) == 3
    assert diagnosis["first_variation"] == pytest.approx(0.094, abs=0.002)
    assert diagnosis["agreement"] == pytest.approx(0.888, abs=0.005)


def test_six_bits_are_the_same_model_within_limits(capsys):
    assert main(["quantize", "--form", "merged", "--key-bits", "6", "--value-bits", "6"]) == 0
    assert "the same model, within limits" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("names", None, "folded"), "no form folded"),
        (("names", None, "plain", 6), "plain form are fixed"),
        (("names", None, "merged", 1), "1 bits are no width"),
        (("nothing",), "no checkpoint nothing"),
        (("names", Path("absent/report.json")), "no folder absent: make it"),
    ],
)
def test_bad_input_is_named(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        quantize(*arguments)
    assert not list(tmp_path.iterdir())


LLAMA = ModelConfig(
    1, 16, 4, 20, 12, 9, family="llama", positions="rotary", kv_heads=2, tied=True
)  # fmt: skip


@pytest.fixture
def llama(tmp_path):
    """Save a small random model of the Llama family."""
    random = np.random.default_rng(2)
    shapes = LLAMA.weight_shapes().items()
    weights = {name: random.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes}
    rows = random.integers(0, 9, (16, 13)).astype(np.int16)
    path = tmp_path / "llama.safetensors"
    save_checkpoint(path, Checkpoint(LLAMA, Characters("abcdefgh"), weights, rows))
    return path


def test_the_llama_family_is_compared_with_its_float_model(llama, tmp_path, capsys):
    found = {}
    for profile in ("J1", "J2"):
        file = tmp_path / f"{profile}.json"
        quantize(str(llama), file, profile=profile)
        printed = capsys.readouterr().out
        found[profile] = json.loads(file.read_text())
        assert f"{found[profile]['kl']:.4f}" in printed
        assert f"{found[profile]['agreement']:.1%}" in printed
        assert 0 < found[profile]["kl"] < 0.02


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"profile": "J3"}, "no profile J3: give J1 or J2"),
        ({"bits": 6}, "widths of the plain form are fixed"),
        ({"form": "merged"}, "does not compute the family llama"),
    ],
)
def test_widths_that_the_llama_family_does_not_have(llama, options, fault):
    with pytest.raises(UserError, match=fault):
        quantize(str(llama), **options)


def test_a_microgpt_has_no_profile():
    with pytest.raises(UserError, match="for models of the Llama family"):
        quantize("names", profile="J1")
