"""``gptloom import``; what it reads is in tests/model/imports."""

import json
import struct

import numpy as np
import pytest

from gptloom.cli.main import main
from gptloom.model.checkpoint import load_checkpoint
from gptloom.model.float_model import FloatModel

SHAPE = dict(n_layer=1, n_embd=8, n_head=2, block_size=8, vocab_size=4)


def write_microgpt(path, **stated):
    random = np.random.default_rng(0)
    square = {f"layer0.attn_w{name}": (8, 8) for name in "qkvo"}
    shapes = {"wte": (4, 8), "wpe": (8, 8), "lm_head": (4, 8), **square}
    shapes |= {"layer0.mlp_fc1": (12, 8), "layer0.mlp_fc2": (8, 12)}
    weights = {name: random.normal(0, 0.5, shape).tolist() for name, shape in shapes.items()}
    metadata = SHAPE | {"uchars": ["a", "b", "c"], "BOS": 3} | stated
    path.write_text(json.dumps({"metadata": metadata, "weights": weights}))


def write_llama(path, width=8, hidden=12, layers=1, vocabulary=5, context=16):
    """Write llama2.c's checkpoint of two heads, and its tokenizer."""
    numbers = 2 * vocabulary * width + layers * (2 * width + 4 * width**2 + 3 * width * hidden)
    numbers += width + context * width // 2
    content = np.random.default_rng(0).normal(0, 0.3, numbers).astype("<f4").tobytes()
    header = struct.pack("<7i", width, hidden, layers, 2, 2, -vocabulary, context)
    path.write_bytes(header + content)
    pieces = [b"<unk>", b"<s>", b"</s>", *(b"p%d" % i for i in range(vocabulary - 3))]
    tokenizer = b"".join(struct.pack("<fi", 0, len(piece)) + piece for piece in pieces)
    path.with_name("tokenizer.bin").write_bytes(struct.pack("<i", 8) + tokenizer)


def test_a_microgpt_becomes_a_checkpoint(tmp_path, capsys):
    file, out = tmp_path / "my model.json", tmp_path / "own.safetensors"
    write_microgpt(file)
    assert main(["import", str(file), "--out", str(out)]) == 0
    checkpoint = load_checkpoint(out)
    origin = checkpoint.metadata["imported"]
    assert origin["licence"] == "unknown"
    assert origin["command"] == f"gptloom import --seed 0 --out {out} '{file}'"
    assert origin["calibration"] == "sampled from the model"
    assert len(origin["sha256"]) == 64
    said = capsys.readouterr()
    assert f"Wrote {out}." in said.out.replace("\n", "")
    assert "warning" not in said.err


def test_a_llama_becomes_a_checkpoint(tmp_path, capsys):
    file, out = tmp_path / "small.bin", tmp_path / "own.safetensors"
    write_llama(file)
    assert main(["import", str(file), "--out", str(out)]) == 0
    checkpoint = load_checkpoint(out)
    assert np.isfinite(
        FloatModel(checkpoint.config, checkpoint.weights).loss(checkpoint.calibration)
    )
    assert "warning" not in capsys.readouterr().err


def test_a_text_gives_the_calibration_documents(tmp_path):
    file, out, text = tmp_path / "m.json", tmp_path / "own.safetensors", tmp_path / "names.txt"
    write_microgpt(file)
    text.write_text("abc\ncab\n")
    assert main(["import", str(file), "--out", str(out), "--text", str(text)]) == 0
    checkpoint = load_checkpoint(out)
    documents = {checkpoint.tokenizer.decode(row[1:].tolist()) for row in checkpoint.calibration}
    assert documents == {"abc", "cab"}
    assert checkpoint.metadata["imported"]["calibration"] == "names.txt"


def test_the_same_command_writes_the_same_file(tmp_path):
    file, out = tmp_path / "m.json", tmp_path / "own.safetensors"
    write_microgpt(file)
    contents = []
    for _ in range(2):
        assert main(["import", str(file), "--out", str(out)]) == 0
        contents.append(out.read_bytes())
    assert contents[0] == contents[1]


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (["--heads", "4"], "n_head 2, not 4"),
        (["--context", "4"], "--context is not for"),
        (["--seed", "-1"], "seed is -1"),
        (["--text", "absent.txt"], "absent.txt cannot be read"),
        (["--text", "EMPTY"], "is empty"),
        (["--text", "BYTES"], "is not UTF-8"),
        (["--text", "FOREIGN"], "'x' is not in the vocabulary"),
    ],
)
def test_bad_options_are_refused_and_nothing_is_written(options, fault, tmp_path, capsys):
    file, out = tmp_path / "m.json", tmp_path / "own.safetensors"
    write_microgpt(file)
    for name, content in (("EMPTY", b"\n"), ("BYTES", b"\xff"), ("FOREIGN", b"abx")):
        (tmp_path / name).write_bytes(content)
    options = [str(tmp_path / word) if word.isupper() else word for word in options]
    out.write_text("mine")
    before = sorted(tmp_path.iterdir())
    assert main(["import", str(file), "--out", str(out), *options]) == 2
    said = capsys.readouterr().err
    assert fault in said
    assert "Traceback" not in said
    assert sorted(tmp_path.iterdir()) == before
    assert out.read_text() == "mine"


def test_the_output_is_checked_first(tmp_path, capsys):
    write_microgpt(tmp_path / "m.json")
    for out, fault in (("own.bin", ".safetensors"), ("absent/own.safetensors", "no folder")):
        assert main(["import", str(tmp_path / "m.json"), "--out", str(tmp_path / out)]) == 2
        assert fault in capsys.readouterr().err


@pytest.mark.parametrize(
    ("shape", "fault"),
    [
        (
            dict(vocabulary=4097),
            "vocabulary 4097 is 1 more than a folded core can have: use at most",
        ),
        (
            dict(context=2000),
            "context 2000 is 976 more than a folded core can have: use at most 1024",
        ),
        (dict(layers=17), "layers 17 is 1 more"),
    ],
)
def test_what_no_machine_holds_is_refused(shape, fault, tmp_path, capsys):
    file, out = tmp_path / "large.bin", tmp_path / "own.safetensors"
    write_llama(file, **shape)
    assert main(["import", str(file), "--out", str(out)]) == 2
    assert f"{file} cannot be imported: {fault}" in capsys.readouterr().err
    assert not out.exists()


def test_long_contexts_are_cut_by_an_option(tmp_path):
    file, out = tmp_path / "long.bin", tmp_path / "own.safetensors"
    write_llama(file, context=2000)
    assert main(["import", str(file), "--out", str(out), "--context", "64"]) == 0
    assert load_checkpoint(out).config.context == 64


def test_interrupted_while_sampling_nothing_is_written(tmp_path, monkeypatch):
    file, out = tmp_path / "m.json", tmp_path / "own.safetensors"
    write_microgpt(file)

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("gptloom.model.imports.calibration.sample_rows", interrupt)
    assert main(["import", str(file), "--out", str(out)]) == 130
    assert [path.name for path in tmp_path.iterdir()] == ["m.json"]


@pytest.mark.shared
def test_a_story_is_written_by_the_imported_model(shared_data, tmp_path):
    out = tmp_path / "stories.safetensors"
    command = ["import", str(shared_data / "stories260K.bin"), "--out", str(out)]
    assert main([*command, "--tokenizer", str(shared_data / "tok512.bin")]) == 0
    checkpoint = load_checkpoint(out)
    model, tokenizer = FloatModel(checkpoint.config, checkpoint.weights), checkpoint.tokenizer
    tokens = [tokenizer.bos]
    for _ in range(20):
        tokens.append(int(model.logits(np.array([tokens]))[0, -1].argmax()))
    assert tokenizer.decode(tokens[1:]).startswith("Once upon a time, there was a little girl")
    assert len(checkpoint.calibration) == 64
    # Its own text is as surprising as its entropy, 1.27 nats per token, says.
    assert model.loss(checkpoint.calibration[:16]) == pytest.approx(1.27, abs=0.1)
