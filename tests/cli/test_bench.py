"""`gptloom bench`."""

import json

import pytest
from PIL import Image

from gptloom.cli.main import main
from gptloom.sim.baseline.measure import SoftwareSpeed


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--kv", "--pages"], "choose one of --kv"),
        (["--pages", "--json", "x.json"], "leave the other options out"),
        (["--kv", "--names", "5"], "--names and --markdown belong to the comparison"),
        (["--kv", "--markdown", "x.md"], "--names and --markdown belong to the comparison"),
        (["--checkpoint", "names-24"], "the comparison is of the checkpoint names"),
        (["--lanes", "5"], "5 lanes cannot be built"),
        (["--core", "unrolled", "--lanes", "16"], "--lanes belong to --core folded"),
        (["--engine", "none"], "there is no simulation engine 'none'"),
        (["--markdown", "nowhere/x.md"], "there is no folder nowhere"),
        (["--kv", "--core", "unrolled", "--lanes", "16"], "--lanes belong to --core folded"),
        (["--kv", "--lanes", "5"], "5 lanes cannot be built"),
        (["--kv", "--json", "nowhere/x.json"], "there is no folder nowhere"),
        (["--kv", "--checkpoint", "none"], "There is no checkpoint none"),
    ],
)
def test_what_cannot_be_measured_is_refused(arguments, says, capsys):
    assert main(["bench", *arguments]) == 2
    assert says in capsys.readouterr().err


CORE = {
    "core": "folded", "lanes": 16, "bits": 8, "streams": 1, "checkpoint": "names", "tokens": 9,
    "cycles_per_token": 320.0, "cycles_by_position": [310.0, 330.0], "integer_loss": 2.1,
}  # fmt: skip


@pytest.fixture
def measured(monkeypatch):
    """Replace measurements by those of a folded core and a program; return the requests."""
    asked = []

    def folded(lanes, names, simulate):
        asked.append((list(lanes), names, simulate.keywords["kind"]))
        return iter([CORE])

    program = SoftwareSpeed("a program", "a compiler", 1_234_567, 1_000_000, 2.1)
    monkeypatch.setattr("gptloom.boards.lineup.measure_folded_cores", folded)
    monkeypatch.setattr(
        "gptloom.sim.baseline.measure.measure_software", lambda checkpoint: iter([program])
    )
    return asked


def test_the_comparison_is_printed_and_written(measured, tmp_path, capsys):
    json_file, page, plot = tmp_path / "b.json", tmp_path / "b.md", tmp_path / "b.png"
    arguments = ["--core", "folded", "--lanes", "16", "--names", "7", "--engine", "pysim"]
    files = ["--json", str(json_file), "--markdown", str(page), "--plot", str(plot)]
    assert main(["bench", *arguments, *files]) == 0
    assert measured == [([16], 7, "pysim")]
    printed = capsys.readouterr().out
    figures = json.loads(json_file.read_text())
    assert figures["cores"] == [CORE]
    assert figures["machine"]["names"] == 7
    assert figures["software"][0]["tokens_per_second"] == 1_234_567
    assert figures["builds"]
    assert figures["peers"]
    for text in (printed, page.read_text()):
        for figure in ("250,000", "1,234,567", "8,500,000"):
            assert figure in text
    assert "](b.png)" in page.read_text()
    with Image.open(plot) as image:
        assert image.format == "PNG"


def test_all_widths_and_200_names_unless_asked_otherwise(measured, capsys):
    assert main(["bench", "--core", "folded"]) == 0
    assert measured == [([8, 16, 32, 64], 200, "auto")]
    assert "a program" in capsys.readouterr().out


@pytest.mark.nightly
def test_the_unrolled_core_takes_a_turn_for_every_known_token(tmp_path):
    json_file, plot = tmp_path / "kv.json", tmp_path / "kv.png"
    arguments = ["--core", "unrolled", "--json", str(json_file), "--plot", str(plot)]
    assert main(["bench", "--kv", *arguments]) == 0
    measured = json.loads(json_file.read_text())["cores"]["unrolled, one stream"]
    assert measured["positions"] == [
        {"position": i, "cached": 40, "uncached": 40 * (i + 1)} for i in range(16)
    ]
    assert measured["speedup"] == 8.5
    with Image.open(plot) as image:
        assert image.format == "PNG"
