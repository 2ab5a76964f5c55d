"""`gptloom bench`."""

import json

import pytest
from PIL import Image

from gptloom.cli.main import main


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "say what to measure"),
        (["--kv", "--policies"], "say what to measure"),
        (["--policies", "--lanes", "16"], "lanes of its own"),
        (["--reuse", "--core", "unrolled"], "--core belongs to --kv"),
        (["--reuse", "--plot", "x.png"], "no plot of --reuse"),
        (["--policies", "--checkpoint", "names"], "learned positions end with the context"),
        (["--kv", "--core", "unrolled", "--lanes", "16"], "--lanes belong to --core folded"),
        (["--kv", "--lanes", "5"], "5 lanes cannot be built"),
        (["--kv", "--json", "nowhere/x.json"], "there is no folder nowhere"),
        (["--kv", "--checkpoint", "none"], "There is no checkpoint none"),
    ],
)
def test_what_cannot_be_measured_is_refused(arguments, says, capsys):
    assert main(["bench", *arguments]) == 2
    assert says in capsys.readouterr().err


@pytest.mark.long
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
