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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nothing",), "no checkpoint nothing"),
        (("names", "absent/report.json"), "cannot be written"),
    ],
)
def test_bad_input_is_named(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        quantize(*arguments)
    assert not list(tmp_path.iterdir())
