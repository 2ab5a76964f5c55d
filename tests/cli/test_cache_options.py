"""Options of the commands for the behaviour of a full KV cache."""

import json

import pytest

from gptloom.cli.main import main
from gptloom.firmware.image import Image, Region
from gptloom.firmware.protocol import config_hash
from gptloom.model.cache import Eviction
from gptloom.model.checkpoint import load_checkpoint
from gptloom.model.config import ModelConfig
from gptloom.model.quantise import quantise

UNROLLED = ["--core", "unrolled", "--checkpoint", "names-alibi"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--cache", "window"], "learned positions end after 16 tokens"),
        (["--rows", "8"], "learned positions are 16, not 8"),
        (["--cache", "recurrent"], "learned positions end after 16 tokens"),
        (["--cache", "recurrent", "--rows", "8"], "has no rows: leave --rows out"),
        (["--cache", "attention", "--sinks", "2", "--checkpoint", "names-alibi"], "only a window"),
        (["--sinks", "2", "--checkpoint", "names-alibi"], "only a window has them"),
        (["--slots", "1", "--core", "unrolled"], "--slots belong to --core folded"),
        (["--slots", "3"], "choose one of 1, 2, 4"),
        pytest.param(
            ["--slots", "1", "--checkpoint", "names-alibi", "--cache", "window"],
            "one without end: leave one out",
            marks=pytest.mark.nightly,
        ),
        (["--core", "unrolled", "--cache", "window"], "learned positions end after 16 tokens"),
        (["--core", "unrolled", "--rows", "8"], "learned positions are 16, not 8"),
        pytest.param(
            [*UNROLLED, "--cache", "attention"],
            "choose a window, or --core folded",
            marks=pytest.mark.nightly,
        ),
        pytest.param(
            [*UNROLLED, "--cache", "window", "--rows", "12"],
            "12 rows: only powers of two",
            marks=pytest.mark.nightly,
        ),
        pytest.param(
            [*UNROLLED, "--rows", "8", "--prompt", "abcdefgh"],
            "leaves room for 7",
            marks=pytest.mark.nightly,
        ),
        (["--bits", "6"], "--bits belong to --core unrolled"),
        (["--checkpoint", "names-alibi", "--cache", "window", "--rows", "10"], "use 8 or 12"),
    ],
)
def test_what_cannot_be_is_refused(arguments, says, capsys):
    assert main(["generate", *arguments]) == 2
    assert says in " ".join(capsys.readouterr().err.split())


@pytest.mark.nightly
def test_a_prompt_is_computed_once(tmp_path):
    results = []
    for options in ([], ["--slots", "1"]):
        file = tmp_path / "result.json"
        arguments = ["--count", "8", "--prompt", "mari", *options, "--json", str(file)]
        assert main(["generate", *arguments]) == 0
        results.append(json.loads(file.read_text()))
    once, again = results[1], results[0]
    assert once["names"] == again["names"]
    # All names but the first reuse the begin token and the prompt without its last character.
    assert (once["cache"]["reused"], again["cache"]["reused"]) == (7 * 4, 0)
    assert once["cache"]["hits"] == 7
    assert once["cycles"] < again["cycles"] - 7 * 4 * 50


@pytest.mark.nightly
def test_a_stream_of_names_is_the_golden_models(tmp_path, capsys):
    file = tmp_path / "result.json"
    options = ["--checkpoint", "names-alibi", "--cache", "window", "--rows", "8", "--sinks", "2"]
    assert main(["generate", "--count", "12", *options, "--json", str(file)]) == 0
    result = json.loads(file.read_text())
    assert len(result["names"]) == 12
    assert "yes, all" in capsys.readouterr().out
    # Only the first name of a stream begins with the prompt.
    assert main(["generate", "--count", "6", "--prompt", "mar", *options, "--json", str(file)]) == 0
    begin = [name.startswith("mar") for name in json.loads(file.read_text())["names"]]
    assert begin == [True] + [False] * 5


@pytest.mark.nightly
def test_a_stream_without_rows_is_the_golden_models(tmp_path, capsys):
    file = tmp_path / "result.json"
    options = ["--checkpoint", "names-alibi", "--cache", "recurrent", "--prompt", "mar"]
    assert main(["generate", "--count", "6", *options, "--json", str(file)]) == 0
    result = json.loads(file.read_text())
    assert [name.startswith("mar") for name in result["names"]] == [True] + [False] * 5
    # Equal cycles at every position but the first token's, which includes the prompt.
    cycles = result["cycles_by_position"]
    assert len({count for position, count in cycles.items() if position != "3"}) == 1
    assert "yes, all" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["attend", "--count", "3"], "leave --count out"),
        (
            ["attend", "--checkpoint", "names-alibi", "--cache", "recurrent"],
            "choose another cache",
        ),
        (["quantize", "--accept"], "widths of the plain form are fixed"),
        (["image", "--check", "x.img", "--cache", "window"], "leave --lanes, --profile, --cache"),
        (["generate", "--core", "unrolled", "--key-bits", "3"], "greater than or equal to 4"),
        (
            ["build", "--board", "ulx3s-25f", "--record", "--rows", "16"],
            "the record is of caches as they are by default",
        ),
        pytest.param(
            [
                *("build", "--board", "ulx3s-25f", "--checkpoint", "names-alibi"),
                *("--cache", "window", "--rows", "16", "--framed", "--folder", "nowhere"),
            ],
            "build it with --text",
            marks=pytest.mark.long,
        ),
    ],
)
def test_options_that_do_nothing_are_refused(arguments, says, capsys):
    assert main(arguments) == 2
    assert says in " ".join(capsys.readouterr().err.split())


@pytest.mark.nightly
def test_rows_without_eviction_are_measured_as_they_are(tmp_path):
    file = tmp_path / "result.json"
    options = ["--checkpoint", "names-alibi", "--rows", "16", "--count", "2", "--json", str(file)]
    assert main(["generate", *options]) == 0
    result = json.loads(file.read_text())
    # Beginnings of names are more frequent in short rows, for floating point as for integers.
    assert result["float_loss"] > 2.15
    assert result["integer_loss"] == pytest.approx(result["float_loss"], abs=0.001)


@pytest.mark.long
def test_images_for_other_caches_have_another_number():
    model = quantise(load_checkpoint("names-alibi"))
    hashes = set()
    for cache in (("none", 0), ("window", 0), ("window", 4), ("attention", 0), ("recurrent", 0)):
        config = model.with_cache(16, Eviction(cache[0]), cache[1]).config
        hashes.add(config_hash(16, config, dict.fromkeys(Region, 1)))
    hashes.add(config_hash(16, ModelConfig(), dict.fromkeys(Region, 1)))
    assert len(hashes) == 6


@pytest.mark.long
def test_an_image_says_which_cache_it_is_for(tmp_path, capsys):
    file = tmp_path / "a.img"
    options = ["--checkpoint", "names-alibi", "--cache", "window", "--rows", "8", "--sinks", "2"]
    assert main(["image", *options, "--out", str(file)]) == 0
    config = Image.read(file).config
    assert (config.context, config.eviction, config.sinks) == (8, "window", 2)
    assert "eviction window" in capsys.readouterr().out
