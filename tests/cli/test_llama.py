"""Commands with a model of the Llama family: text, figures, files and refusals."""

import json
import re
from itertools import islice

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from gptloom.cli.cores import load_plain, machine_of
from gptloom.cli.generate import some_positions
from gptloom.cli.main import main
from gptloom.cli.simulated import Printer
from gptloom.model.checkpoint import save_checkpoint
from gptloom.model.formats import COARSE, FINE
from gptloom.model.golden import GoldenModel
from gptloom.model.tokenizers.pieces import Pieces
from gptloom.sim.session import Emitted
from verification.llama import GROUPED, PIECES, make_checkpoint, with_pieces

# Most of them simulate the same core, which one worker compiles once.
pytestmark = pytest.mark.xdist_group("llama")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("llama") / "small.safetensors"
    save_checkpoint(path, make_checkpoint(GROUPED, 3))
    return str(path)


@pytest.fixture
def pieces(tmp_path):
    """Save a model whose tokens are pieces of text."""
    path = tmp_path / "pieces.safetensors"
    save_checkpoint(path, with_pieces(make_checkpoint(GROUPED, 3)))
    return path


@pytest.mark.long
def test_text_and_figures_are_printed_and_written(checkpoint, tmp_path, capsys):
    file = tmp_path / "result.json"
    options = ["--prompt", "ab", "--tokens", "20", "--temperature", "1.5", "--lanes", "32"]
    assert not main(["generate", "--checkpoint", checkpoint, *options, "--json", str(file)])
    printed, result = capsys.readouterr().out, json.loads(file.read_text())
    model = load_plain(checkpoint, {})
    golden = GoldenModel(model).generate(1, 1.5, model.tokenizer.encode("ab"))
    texts = [[]]
    for token in islice(golden, 20):
        texts[-1].append(token.token)
        if token.last:
            texts.append([])
    expected = ["ab" + model.tokenizer.decode(text) for text in texts if text]
    assert len(expected) > 1
    assert result["texts"] == result["names"] == expected
    assert result["text"] == expected[0]
    assert "\n".join(expected) + "\n" in printed
    assert (result["tokens"], result["lanes"]) == (20, 32)
    assert result["kl"] == model.metadata["kl"] > 0
    assert f"{result['kl']:.4f} nats (calibration documents)" in printed
    assert result["equal_to_golden"] is True
    # A prompt's token has no logits.
    firsts = result["cycles_by_position"]["2"]
    assert 0 < result["cycles_per_prompt_token"] < firsts
    total = sum(result["cycles_by_position"].values())
    assert total < result["cycles"]


@pytest.mark.long
def test_the_waveform_names_sites_and_tokens(checkpoint, tmp_path):
    file = tmp_path / "text.vcd"
    options = ["--tokens", "2", "--lanes", "32", "--wave", str(file)]
    assert not main(["generate", "--checkpoint", checkpoint, *options])
    text = file.read_text()
    assert all(f"s0.{site} " in text for site in ("gate", "up", "middle"))


@pytest.mark.long
def test_an_image_goes_through_a_file(checkpoint, tmp_path, capsys):
    image = str(tmp_path / "small.img")
    assert not main(["image", "--checkpoint", checkpoint, "--lanes", "32", "--out", image])
    assert "family llama" in capsys.readouterr().out
    command = ["generate", "--checkpoint", checkpoint, "--lanes", "32", "--tokens", "2"]
    assert not main([*command, "--image", image])
    assert main([*command, "--image", image, "--profile", "J2"]) == 2
    assert "the model has keys of 9 and values of 9 bits" in capsys.readouterr().err


@pytest.mark.nightly
def test_attention_is_shown_of_grouped_heads(checkpoint, tmp_path, capsys):
    file = tmp_path / "a.json"
    options = ["--prompt", "abc", "--tokens", "3", "--lanes", "32", "--json", str(file)]
    assert not main(["attend", "--checkpoint", checkpoint, *options])
    attended = json.loads(file.read_text())["attended"]
    assert len(attended) <= 6
    last = np.array(attended[-1]["weights"])
    assert last.shape == (1, 4, len(attended[-1]["seen"]))
    assert last.sum(axis=2) == pytest.approx(1, abs=1e-3)
    assert "layer 0, head 3" in capsys.readouterr().out


@pytest.mark.nightly
def test_cycles_are_predicted_at_some_positions(checkpoint, capsys):
    options = ["--lanes", "32", "--position", "0", "--position", "9"]
    assert not main(["budget", "--checkpoint", checkpoint, *options])
    printed = capsys.readouterr().out
    pairs = re.findall(r"\| ([\d.]+) / ([\d.]+) \|", printed)
    assert len(pairs) > 8
    assert all(predicted == seen for predicted, seen in pairs)
    assert "| 9 | " in printed
    assert "predicted mean of 0 to 15" in printed
    assert main(["budget", "--checkpoint", checkpoint, "--position", "16"]) == 2
    assert "position 16 is outside the context: give 0 to 15" in capsys.readouterr().err


def test_the_usual_lanes_are_those_of_the_family(checkpoint):
    model = load_plain(checkpoint, {})
    assert machine_of(model, None).lanes == 64
    assert machine_of(load_plain("names", {}), None).lanes == 16
    assert model.precision == FINE
    assert load_plain(checkpoint, {}, "J2").precision == COARSE


def test_a_smaller_cache_is_measured_with_documents_that_fit(checkpoint):
    model = load_plain(checkpoint, {"rows": 8})
    assert model.config.context == 8
    usual = load_plain(checkpoint, {})
    assert model.metadata["kl"] != usual.metadata["kl"]
    assert all((model.weights[name] == usual.weights[name]).all() for name in usual.weights)


def test_text_is_printed_as_it_comes():
    """A character appears with the token that completes it, brackets as they are."""
    tokenizer = Pieces([*PIECES[:3], b" [b]", b"\xc3", b"\xa9", b"\n"], [0.0] * 7)
    written = []
    printer = Printer(written.append, tokenizer, whole=False)
    document = [3]
    for token in (4, 5, 6):
        document.append(token)
        printer(Emitted(token, len(document), False, 0, 0), document)
    printer(Emitted(1, 9, True, 0, 0), document)
    assert written == ["[b]", "é", "\n", "", "\n"]
    printer(Emitted(3, 0, False, 0, 0), [3])
    printer.finish([3])
    assert written[5:] == ["[b]", "\n"]


def test_many_positions_are_shown_in_part():
    assert some_positions(range(16)) == range(16)
    assert some_positions(range(5, 200)) == [5, 63, 127, 191, 199]


def damaged(path, damage, **metadata):
    """Change the tensors of a checkpoint, and parts of its metadata."""
    tensors = load_file(path)
    with safe_open(path, "numpy") as opened:
        stated = opened.metadata() | {k: json.dumps(v) for k, v in metadata.items()}
    stated.pop("fingerprint")
    damage(tensors)
    save_file(tensors, path, stated)


def nothing(tensors):
    """Leave the tensors as they are."""


def not_a_number(tensors):
    tensors["layer0.mlp_gate"] = np.full_like(tensors["layer0.mlp_gate"], np.nan)


@pytest.mark.parametrize(
    ("damage", "metadata", "says"),
    [
        (not_a_number, {}, "layer0.mlp_gate .* holds NaN or infinity"),
        (lambda t: t.pop("final_gain"), {}, "final_gain is missing"),
        (
            nothing,
            {"tokenizer": {"kind": "pieces", "pieces": ["a", "b", "c"], "scores": [0, 0, 0]}},
            "a tokenizer of 3 tokens for a model of 9",
        ),
        (nothing, {"tokenizer": {"kind": "unheard"}}, "the tokenizer is none of"),
    ],
)
def test_damaged_checkpoints_are_refused(damage, metadata, says, pieces, capsys, monkeypatch):
    monkeypatch.chdir(pieces.parent)
    damaged(pieces, damage, **metadata)
    refused(capsys, ["generate", "--json", "made.json"], pieces, says)


def test_a_truncated_checkpoint_is_refused(pieces, capsys, monkeypatch):
    monkeypatch.chdir(pieces.parent)
    pieces.write_bytes(pieces.read_bytes()[:-9])
    refused(capsys, ["image", "--out", "made.img"], pieces, "no whole safetensors file")


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["generate", "--prompt", "abc"], "'c' is not in the vocabulary"),
        (["generate", "--prompt", "a" * 30], "the prompt has 30 tokens .* room for 15"),
        (["attend", "--prompt", "a" * 30], "the prompt has 30 tokens .* room for 15"),
        (["generate", "--lanes", "16"], "16 lanes write one result a cycle"),
        (["generate", "--profile", "J3"], "no profile J3: give J1 or J2"),
        (["generate", "--tokens", "0"], "0 tokens cannot be generated"),
        (["generate", "--rows", "2048"], "context 2048 is 1024 more than a folded core can have"),
        (["generate", "--cache", "attention"], "has a cache that ends or a window"),
        (["generate", "--cache", "recurrent"], "keys depend on|cache that ends or a window"),
        (["generate", "--core", "unrolled"], "does not compute the family llama"),
        (["generate", "--core", "unrolled", "--tokens", "9"], "--tokens belong to --core folded"),
        (["image", "--out", "made.img", "--profile", "J9"], "no profile J9"),
        (["verilog", "--out", "made.v", "--lanes", "8"], "8 lanes write one result a cycle"),
        (["build", "--board", "ulx3s-85f", "--framed"], "takes no commands on the serial line yet"),
        (["sim", "--lanes", "16"], "16 lanes write one result a cycle"),
        (["web", "--rows", "2048", "--build", "made"], "context 2048 is 1024 more"),
    ],
)
def test_bad_input_is_one_sentence(command, says, pieces, capsys, monkeypatch):
    monkeypatch.chdir(pieces.parent)
    refused(capsys, command, pieces, says)


def refused(capsys, command, checkpoint, says):
    """Check that a command is refused in one sentence, and writes nothing."""
    before = {path: path.read_bytes() for path in checkpoint.parent.iterdir()}
    assert main([*command, "--checkpoint", str(checkpoint)]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("gptloom: error:") == 1
    assert re.search(says, said), said
    assert "Traceback" not in said
    assert {path: path.read_bytes() for path in checkpoint.parent.iterdir()} == before


@pytest.mark.long
def test_noise_is_drawn_for_all_tokens_wherever_documents_end(pieces, tmp_path):
    """The token that ends documents is 1 here, not the last one."""
    file = tmp_path / "result.json"
    options = [
        "--tokens",
        "12",
        "--count",
        "20",
        "--lanes",
        "32",
        "--temperature",
        "1.5",
        "--json",
        str(file),
    ]
    assert not main(["generate", "--checkpoint", str(pieces), *options])
    assert json.loads(file.read_text())["tokens"] == 12
