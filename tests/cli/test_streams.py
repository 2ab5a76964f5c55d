"""`gptloom generate --core unrolled`: what it prints, writes and refuses."""

import json

import pytest

from gptloom.cli.main import main


@pytest.mark.long
def test_all_streams_print_names_and_figures(tmp_path, capsys):
    file = tmp_path / "result.json"
    options = ["--core", "unrolled", "--count", "30", "--prompt", "ma", "--json", str(file)]
    assert not main(["generate", *options])
    printed = capsys.readouterr().out
    result = json.loads(file.read_text())
    assert len(result["names"]) == 30
    for name in result["names"]:
        assert name.startswith("ma")
        assert f"\n{name}\n" in printed
    assert set(result["streams_of_names"]) == set(range(result["streams"]))
    assert result["equal_to_golden"] is True
    assert f"{result['tokens_per_second']:,}" in printed
    assert f"{result['aggregate_tokens_per_second']:,}" in printed
    assert result["aggregate_tokens_per_second"] == round(
        80e6 * result["tokens"] / result["cycles"]
    )
    # All of it ran at the same time.
    assert result["aggregate_tokens_per_second"] > 4 * result["tokens_per_second"]
    assert result["cycles_per_token"] <= 40 * 1.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--lanes", "16"], "--lanes belong to --core folded"),
        (["--bits-per-cycle", "3"], "do not divide activations of 8 bits"),
        (["--positions", "3"], "3 positions"),
        (["--checkpoint", "names-2l"], "only one is possible"),
        (["--prompt", "abcdefghijklmnopq"], "prompt"),
        (["--temperature", "3"], "temperature"),
    ],
)
def test_what_cannot_be_is_one_sentence(options, message, capsys):
    assert main(["generate", "--core", "unrolled", *options]) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert message in error
    assert "Traceback" not in error


def test_options_of_the_unrolled_core_need_it(capsys):
    assert main(["generate", "--streams", "2"]) == 2
    assert "belong to --core unrolled" in " ".join(capsys.readouterr().err.split())
