"""``gptloom quantize``: output and files."""

import json
from pathlib import Path

import pytest

from gptloom.cli.main import main
from gptloom.cli.quantise import quantize
from gptloom.model.errors import UserError


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
