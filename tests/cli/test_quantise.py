"""``gptloom quantize``: what it prints and writes."""

import json

import pytest

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
    assert shifts["0.wq"] is None


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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("names", None, "folded"), "no form folded"),
        (("names", None, "plain", 6), "plain form are fixed"),
        (("names", None, "merged", 1), "1 bits are no width"),
        (("nothing",), "no checkpoint nothing"),
        (("names", "absent/report.json"), "cannot be written"),
    ],
)
def test_bad_input_is_named(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        quantize(*arguments)
    assert not list(tmp_path.iterdir())
