"""llama2.c's checkpoints, written here as its export writes them."""

import json
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import published
import pytest

from gptloom.model.checkpoint import load_checkpoint, save_checkpoint
from gptloom.model.errors import UserError
from gptloom.model.float_model import Cache, FloatModel
from gptloom.model.imports.calibration import calibrate_by_sampling
from gptloom.model.imports.llama2c import read_llama2c
from gptloom.model.imports.options import Options
from gptloom.model.tokenizers.pieces import Pieces, read_pieces

UNTIED = published.SMALL
TIED = replace(UNTIED, tied=True, cached=4, layers=1)
ORDER = (
    "input_layernorm", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
    "self_attn.o_proj", "post_attention_layernorm", "mlp.gate_proj", "mlp.down_proj", "mlp.up_proj",
)  # fmt: skip


def content_of(shape, tensors):
    header = struct.pack(
        "<7i", shape.width, shape.hidden, shape.layers, shape.heads, shape.cached,
        shape.vocabulary if shape.tied else -shape.vocabulary, shape.context,
    )  # fmt: skip
    parts = [tensors["model.embed_tokens.weight"]]
    for name in ORDER:
        parts += [tensors[f"model.layers.{i}.{name}.weight"] for i in range(shape.layers)]
    # Nothing may depend on the tables of cosines and sines.
    parts += [tensors["model.norm.weight"], np.full((shape.context, shape.size), np.nan)]
    if not shape.tied:
        parts.append(tensors["lm_head.weight"])
    return header + b"".join(part.astype("<f4").tobytes() for part in parts)


def pieces_of(count):
    pieces = [b"<unk>", b"<s>", b"</s>", *(bytes([97 + i]) for i in range(count - 3))]
    return struct.pack("<i", 5) + b"".join(
        struct.pack("<fi", 0.0, len(piece)) + piece for piece in pieces
    )


@pytest.fixture
def files(tmp_path):
    """Return a function that writes a checkpoint and its tokenizer."""

    def write(shape, content=None, pieces=None):
        path = tmp_path / "small.bin"
        content = content or content_of(shape, published.random_tensors(shape))
        path.write_bytes(content)
        (tmp_path / "tokenizer.bin").write_bytes(pieces or pieces_of(shape.vocabulary))
        return path

    return write


@pytest.mark.parametrize("shape", [UNTIED, TIED], ids=["untied", "tied"])
def test_logits_are_those_of_the_file(shape, files):
    checkpoint = read_llama2c(files(shape), Options())
    tokens = np.random.default_rng(1).integers(0, shape.vocabulary, shape.context)
    expected = published.logits(
        shape, published.random_tensors(shape), tokens, published.rotate_neighbours
    )
    found = FloatModel(checkpoint.config, checkpoint.weights).logits(tokens[None])[0]
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert checkpoint.config.tied == shape.tied
    assert checkpoint.config.cached_heads == shape.cached
    assert checkpoint.name == "small"


def test_survives_a_file_of_our_own(files, tmp_path):
    checkpoint = calibrate_by_sampling(read_llama2c(files(TIED), Options()), 0)
    save_checkpoint(tmp_path / "small.safetensors", checkpoint)
    loaded = load_checkpoint(tmp_path / "small.safetensors")
    assert loaded.config == checkpoint.config
    assert loaded.tokenizer.to_dict() == checkpoint.tokenizer.to_dict()
    for name, tensor in checkpoint.weights.items():
        np.testing.assert_array_equal(loaded.weights[name], tensor)


def test_fewer_positions_may_be_kept(files):
    checkpoint = read_llama2c(files(UNTIED), Options(context=8))
    assert checkpoint.config.context == 8
    with pytest.raises(UserError, match=r"trained for 24 positions, not 25"):
        read_llama2c(files(UNTIED), Options(context=25))


def test_the_tokenizer_is_beside_the_file_or_named(files, tmp_path):
    path = files(UNTIED)
    elsewhere = (tmp_path / "tokenizer.bin").rename(tmp_path / "tok11.bin")
    with pytest.raises(UserError, match=r"--tokenizer"):
        read_llama2c(path, Options())
    assert isinstance(read_llama2c(path, Options(tokenizer=elsewhere)).tokenizer, Pieces)


GOOD = content_of(UNTIED, published.random_tensors(UNTIED))
AT_WQ = 28 + 4 * UNTIED.width * (UNTIED.vocabulary + UNTIED.layers)  # behind embedding and gains


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        pytest.param(GOOD[:20], "has 20 bytes", id="less than a header"),
        pytest.param(GOOD[:-4], r"has [\d,]+ bytes, and .* its header has [\d,]+", id="cut"),
        pytest.param(GOOD + b"\0", "give a whole file of version 0", id="longer"),
        pytest.param(
            struct.pack("<7i", 16, 20, 0, 4, 2, 11, 24) + GOOD[28:], "layers 0", id="no layers"
        ),
        pytest.param(
            struct.pack("<7i", 18, 20, 2, 4, 2, 11, 24) + GOOD[28:], "width 18", id="odd width"
        ),
        pytest.param(struct.pack("<7i", *[2**30] * 7), "has 28 bytes", id="huge"),
        pytest.param(b"\x7fELF" * 100, "give a whole file", id="foreign"),
        pytest.param(
            GOOD[:AT_WQ] + struct.pack("<f", np.nan) + GOOD[AT_WQ + 4 :],
            "tensor attn_wq of .* NaN or infinity",
            id="NaN",
        ),
    ],
)
def test_what_is_no_whole_checkpoint_is_refused(content, fault, files):
    with pytest.raises(UserError, match=fault):
        read_llama2c(files(UNTIED, content), Options())


def test_shapes_that_cannot_be_are_refused(files):
    shape = replace(UNTIED, heads=3, cached=3, width=12)
    with pytest.raises(UserError, match=r"small\.bin cannot be imported: heads is 3"):
        read_llama2c(files(shape), Options())


def test_what_the_caller_does_not_accept_is_refused(files):
    def refuse(config):
        raise UserError(f"{config.vocabulary} tokens are too many")

    with pytest.raises(UserError, match=r"small\.bin cannot be imported: 11 tokens are too many"):
        read_llama2c(files(UNTIED), Options(accept=refuse))


@pytest.mark.parametrize("count", [10, 12])
def test_a_tokenizer_of_another_vocabulary_is_refused(count, files):
    with pytest.raises(UserError, match=r"no llama2\.c tokenizer of 11 tokens"):
        read_llama2c(files(UNTIED, pieces=pieces_of(count)), Options())


@pytest.mark.shared
def test_stories_are_those_of_the_program(shared_data):
    """Greedy texts of run.c, 256 tokens each, token for token."""
    tokenizer = shared_data / "tok512.bin"
    checkpoint = read_llama2c(shared_data / "stories260K.bin", Options(tokenizer=tokenizer))
    model, pieces = FloatModel(checkpoint.config, checkpoint.weights), read_pieces(tokenizer, 512)
    known = json.loads(Path(shared_data / "stories260K-greedy.json").read_text())
    assert len(known) == 5
    for story in known:
        prompt = pieces.encode(story["prompt"])
        cache, tokens = Cache(checkpoint.config), [pieces.bos]
        for position in range(256):
            logits = model.step(tokens[-1], position, cache)
            token = prompt[position] if position < len(prompt) else int(logits.argmax())
            if token == pieces.bos:
                break
            tokens.append(token)
        assert checkpoint.tokenizer.decode(tokens[1:]) == story["greedy_256"]
