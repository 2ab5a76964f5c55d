"""`gptloom generate --core unrolled`: output, files and refusals."""

import json

import pytest

from gptloom.cli.main import main

# One process compiles the core that tests of the hardware use as well.
pytestmark = pytest.mark.xdist_group("unrolled core")


def deduplicated(values):
    """Drop values equal to their predecessor: a waveform has changes only."""
    return [value for i, value in enumerate(values) if i == 0 or values[i - 1] != value]


def stream_tokens(file, stream):
    """Return a stream's text in a VCD file, change by change."""
    names, changes = {}, []
    for line in file.read_text().splitlines():
        words = line.split()
        if words[:1] == ["$var"]:
            names[words[3]] = words[4]
        elif len(words) == 2 and line[0] == "s" and names[words[1]] == f"{stream}_text":
            changes.append(words[0][1:])
    return changes


@pytest.mark.nightly
def test_all_streams_print_names_and_figures(tmp_path, capsys):
    file = tmp_path / "result.json"
    wave = tmp_path / "names.vcd"
    options = ["--core", "unrolled", "--count", "30", "--prompt", "ma", "--json", str(file)]
    assert not main(["generate", *options, "--wave", str(wave)])
    printed = capsys.readouterr().out
    result = json.loads(file.read_text())
    assert len(result["names"]) == 30
    for name in result["names"]:
        assert name.startswith("ma")
        assert f"\n{name}\n" in printed
    assert set(result["streams_of_names"]) == set(range(result["streams"]))
    assert result["equal_to_golden"] is True
    assert len(result["tokens_of_streams"]) == result["streams"]
    assert sum(result["tokens_of_streams"]) == result["tokens"]
    # Known tokens have rows as well, and some tokens are still in the pipeline.
    assert result["cache"]["writes"] > result["tokens"]
    assert f"{result['cache']['writes']:,} written" in printed
    assert f"{result['tokens_per_second']:,}" in printed
    assert f"{result['aggregate_tokens_per_second']:,}" in printed
    assert result["aggregate_tokens_per_second"] == round(
        80e6 * result["tokens"] / result["cycles"]
    )
    # All streams ran at the same time.
    assert result["aggregate_tokens_per_second"] > 4 * result["tokens_per_second"]
    assert result["cycles_per_token"] <= 40 * 1.5
    # The first stream's first name without its prompt, token by token, in the waveform.
    changes = stream_tokens(wave, 0)
    own = [n for s, n in zip(result["streams_of_names"], result["names"], strict=True) if s == 0]
    expected = [c for name in own for c in (*name[2:], "<end>")]
    shown = [token for token in changes if token != "-"]
    assert shown[:3] == deduplicated(expected)[:3]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--lanes", "16"], "--lanes belong to --core folded"),
        (["--bits-per-cycle", "3"], "do not divide activations of 8 bits"),
        (["--bits-per-cycle", "0"], "do not divide activations of 8 bits"),
        (["--positions-per-cycle", "3"], "3 positions"),
        (["--heads-per-cycle", "0"], "0 heads a cycle"),
        (["--heads-per-cycle", "-1"], "-1 heads a cycle"),
        (["--heads-per-cycle", "3"], "3 heads a cycle"),
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


@pytest.mark.nightly
def test_streams_of_names_without_end(tmp_path, capsys):
    file = tmp_path / "result.json"
    options = ["--core", "unrolled", "--checkpoint", "names-alibi", "--bits", "6", "--cache"]
    options += ["window", "--rows", "16", "--positions-per-cycle", "2", "--bits-per-cycle", "1"]
    assert not main(
        [
            "generate",
            *options,
            "--count",
            "25",
            "--streams",
            "3",
            "--prompt",
            "mar",
            "--json",
            str(file),
        ]
    )
    result = json.loads(file.read_text())
    assert "yes, all" in capsys.readouterr().out
    assert (result["weight_bits"], result["streams"]) == (6, 3)
    # The loss is that of the simulated cache; only a stream's first name has the prompt.
    assert 0 < result["integer_loss"] - result["float_loss"] < 0.01
    for stream in range(3):
        names = [
            name
            for name, of in zip(result["names"], result["streams_of_names"], strict=True)
            if of == stream
        ]
        assert len(names) > 3
        assert [name.startswith("mar") for name in names] == [True] + [False] * (len(names) - 1)
