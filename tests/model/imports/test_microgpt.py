"""A microGPT's tensors as programs save them, against a forward pass of the script's equations."""

import json
import pickle
import sys
from dataclasses import dataclass, field

import numpy as np
import pytest
from safetensors.numpy import save_file

from gptloom.model.checkpoint import load_checkpoint, save_checkpoint
from gptloom.model.errors import MissingPackageError, UserError
from gptloom.model.float_model import FloatModel
from gptloom.model.imports.calibration import calibrate_by_sampling
from gptloom.model.imports.microgpt import read_microgpt
from gptloom.model.imports.options import End, Options

HEADS, LAYERS, WIDTH, HIDDEN, CONTEXT = 2, 2, 8, 20, 12
CHARACTERS = "abcxyz"
VOCABULARY = len(CHARACTERS) + 1
STATED = {
    "uchars": list(CHARACTERS), "vocab_size": VOCABULARY, "n_embd": WIDTH, "n_layer": LAYERS,
    "n_head": HEADS, "head_dim": WIDTH // HEADS, "block_size": CONTEXT, "BOS": VOCABULARY - 1,
}  # fmt: skip


def random_tensors(seed=0):
    random = np.random.default_rng(seed)

    def matrix(rows, columns):
        return random.normal(0, 0.5, (rows, columns)).astype(np.float16).astype(np.float32)

    tensors = {
        "wte": matrix(VOCABULARY, WIDTH),
        "wpe": matrix(CONTEXT, WIDTH),
        "lm_head": matrix(VOCABULARY, WIDTH),
    }
    for layer in range(LAYERS):
        for name in ("attn_wq", "attn_wk", "attn_wv", "attn_wo"):
            tensors[f"layer{layer}.{name}"] = matrix(WIDTH, WIDTH)
        tensors[f"layer{layer}.mlp_fc1"] = matrix(HIDDEN, WIDTH)
        tensors[f"layer{layer}.mlp_fc2"] = matrix(WIDTH, HIDDEN)
    return tensors


def norm(x, gain=1):
    return gain * x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5)


def expected_logits(tensors, tokens, gains=None):
    """Return the logits after each token: [positions, vocabulary]."""
    w, gains = {n: t.astype(np.float64) for n, t in tensors.items()}, gains or {}
    count, size = len(tokens), WIDTH // HEADS
    x = norm(w["wte"][tokens] + w["wpe"][:count])
    for layer in range(LAYERS):
        own = f"layer{layer}."
        normed = norm(x, gains.get(layer, (1, 1))[0])
        q, k, v = (normed @ w[f"{own}attn_w{name}"].T for name in "qkv")
        mixed = []
        for at in range(0, WIDTH, size):
            head = slice(at, at + size)
            scores = q[:, head] @ k[:, head].T / np.sqrt(size)
            powers = np.exp(scores) * np.tri(count)
            mixed.append(powers @ v[:, head] / powers.sum(axis=1, keepdims=True))
        x = x + np.concatenate(mixed, axis=1) @ w[own + "attn_wo"].T
        hidden = np.maximum(norm(x, gains.get(layer, (1, 1))[1]) @ w[own + "mlp_fc1"].T, 0)
        x = x + hidden @ w[own + "mlp_fc2"].T
    return x @ w["lm_head"].T


def save_json(path, content):
    listed = {n: t.tolist() if isinstance(t, np.ndarray) else t for n, t in content.items()}
    path.write_text(json.dumps(listed))


def nested(tensors):
    return {name: tensor.tolist() for name, tensor in tensors.items()}


def save_with_metadata(path, tensors):
    """Save safetensors, whose metadata are text."""
    texts = {n: json.dumps(v) if isinstance(v, list) else str(v) for n, v in STATED.items()}
    save_file(tensors, path, metadata=texts)


WRITERS = {
    "model.json": lambda p, t: save_json(p, {"metadata": STATED, "weights": nested(t)}),
    "state.json": lambda p, t: save_json(
        p, {"n_head": HEADS, "chars": CHARACTERS, "state_dict": nested(t)}
    ),
    "flat.json": lambda p, t: save_json(p, {**t, **STATED}),
    "model.safetensors": save_with_metadata,
    "model.npz": lambda p, t: np.savez(p, **t, n_head=HEADS, uchars=STATED["uchars"]),
    "compressed.npz": lambda p, t: np.savez_compressed(p, **t, n_head=HEADS, chars=CHARACTERS),
    "model.npy": lambda p, t: np.save(p, {**t, **STATED}, allow_pickle=True),
    "lists.npy": lambda p, t: np.save(p, {"weights": nested(t), **STATED}, allow_pickle=True),
}


def check_logits(checkpoint, tensors, gains=None):
    tokens = np.random.default_rng(1).integers(0, VOCABULARY, CONTEXT)
    found = FloatModel(checkpoint.config, checkpoint.weights).logits(tokens[None])[0]
    np.testing.assert_allclose(found, expected_logits(tensors, tokens, gains), atol=1e-6)


@pytest.mark.parametrize("name", WRITERS)
def test_logits_are_those_of_the_file(name, tmp_path):
    WRITERS[name](tmp_path / name, random_tensors())
    checkpoint = read_microgpt(tmp_path / name, Options())
    check_logits(checkpoint, random_tensors())
    assert checkpoint.tokenizer.characters == CHARACTERS
    assert checkpoint.config.heads == HEADS
    assert checkpoint.name == name.partition(".")[0]


def test_survives_a_file_of_our_own(tmp_path):
    WRITERS["model.json"](tmp_path / "model.json", random_tensors())
    checkpoint = calibrate_by_sampling(read_microgpt(tmp_path / "model.json", Options()), 0)
    save_checkpoint(tmp_path / "own.safetensors", checkpoint)
    loaded = load_checkpoint(tmp_path / "own.safetensors")
    assert loaded.config == checkpoint.config
    np.testing.assert_array_equal(loaded.calibration, checkpoint.calibration)
    with pytest.raises(UserError, match="a GPTLoom checkpoint already"):
        read_microgpt(tmp_path / "own.safetensors", Options())


@pytest.mark.parametrize("nest", [False, True])
@pytest.mark.train
def test_a_file_of_pytorch_is_read(nest, tmp_path):
    import torch

    tensors = {n: torch.tensor(t, dtype=torch.bfloat16) for n, t in random_tensors().items()}
    content = {"state_dict": tensors, "config": STATED} if nest else tensors | STATED
    torch.save(content, tmp_path / "model.pt")
    rounded = {n: t.float().numpy() for n, t in tensors.items()}
    check_logits(read_microgpt(tmp_path / "model.pt", Options()), rounded)


@pytest.mark.train
def test_a_file_of_pytorch_that_would_run_something_is_refused(tmp_path):
    import torch

    torch.save(torch.nn.Linear(2, 2), tmp_path / "model.pt")
    with pytest.raises(UserError, match=r"model\.pt cannot be read \(UnpicklingError"):
        read_microgpt(tmp_path / "model.pt", Options())


def test_pytorch_is_asked_for_where_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "model.pt").write_bytes(b"\x80\2}.")
    with pytest.raises(MissingPackageError, match=r"pip install 'gptloom\[train\]'"):
        read_microgpt(tmp_path / "model.pt", Options())


NAMES_OF_GAINS = [("attn_norm", "mlp_norm"), ("norm1.weight", "norm2.weight"), ("rms_1", "rms_2")]


@pytest.mark.parametrize("names", NAMES_OF_GAINS)
def test_gains_become_part_of_the_matrices(names, tmp_path):
    random, tensors = np.random.default_rng(2), random_tensors()
    gains = {layer: random.normal(1, 0.3, (2, WIDTH)).astype(np.float16) for layer in range(LAYERS)}
    own = {
        f"layer{layer}.{name}": gain.astype(np.float32)
        for layer, both in gains.items()
        for name, gain in zip(names, both, strict=True)
    }
    WRITERS["model.safetensors"](tmp_path / "model.safetensors", tensors | own)
    checkpoint = read_microgpt(tmp_path / "model.safetensors", Options())
    check_logits(checkpoint, tensors, gains)
    assert set(checkpoint.weights) == set(tensors)


ORDERS = {
    "end first": ([0, *range(1, 7)], {"BOS": 0}, Options()),
    "end first, by option": ([0, *range(1, 7)], {"BOS": None}, Options(end=End.FIRST)),
    "end in the middle": ([3, 0, 1, 2, 4, 5, 6], {"BOS": 3}, Options()),
    "end named": ([0, *range(1, 7)], {"BOS": 0, "uchars": [".", *CHARACTERS]}, Options()),
    "brackets": ([6, *range(6)], {"uchars": "[]^_`a"}, Options()),
    "brackets in a list": ([6, *range(6)], {"uchars": json.dumps([*"[]^_`a"])}, Options()),
    "digits": ([6, *range(6)], {"uchars": [*"012345"]}, Options()),
    "characters in another order": (
        [6, 5, 4, 3, 2, 1, 0],
        {"BOS": 6, "uchars": [*reversed(CHARACTERS)]},
        Options(),
    ),
}
"""Tokens of the end and of the characters in sorted order, what the file says, and the options."""


@pytest.mark.parametrize("name", ORDERS)
def test_tokens_get_our_order(name, tmp_path):
    (end, *of_characters), stated, options = ORDERS[name]
    ours, foreign = random_tensors(), random_tensors()
    for table in ("wte", "lm_head"):
        foreign[table] = np.empty_like(ours[table])
        foreign[table][[*of_characters, end]] = ours[table]
    save_json(tmp_path / "model.json", foreign | STATED | stated)
    checkpoint = read_microgpt(tmp_path / "model.json", options)
    own = {"brackets": "[]^_`a", "brackets in a list": "[]^_`a", "digits": "012345"}
    assert checkpoint.tokenizer.characters == own.get(name, CHARACTERS)
    check_logits(checkpoint, ours)


def test_what_the_file_lacks_is_said_by_options(tmp_path):
    save_file(random_tensors(), tmp_path / "model.safetensors")
    (tmp_path / "corpus.txt").write_text("zxy\n\nabc\ncab\n")
    for options in (
        Options(heads=HEADS, characters=CHARACTERS),
        Options(heads=HEADS, tokenizer=tmp_path / "corpus.txt"),
    ):
        checkpoint = read_microgpt(tmp_path / "model.safetensors", options)
        assert checkpoint.tokenizer.characters == CHARACTERS
        check_logits(checkpoint, random_tensors())


@dataclass
class Case:
    """A change of a good file, and the sentence that refuses it."""

    fault: str
    stated: dict = field(default_factory=dict)
    tensors: dict = field(default_factory=dict)
    options: Options = field(default_factory=Options)


REFUSED = {
    "no heads": Case("how many attention heads: give --heads", {"n_head": None}),
    "other heads": Case("n_head 2, not 4", options=Options(heads=4)),
    "no heads at all": Case("heads is 0", {"n_head": 0}),
    "heads in words": Case("says n_head 'two', which is no number", {"n_head": "two"}),
    "no characters": Case("give --characters", {"uchars": None}),
    "other characters": Case("the characters .* not", options=Options(characters="abcxyw")),
    "too few characters": Case("5 characters are not those of 7", {"uchars": "abcxy"}),
    "pieces": Case("not single ones", {"uchars": ["ab", *CHARACTERS[1:]]}),
    "a character twice": Case("not single ones, each once", {"uchars": "aacxyz"}),
    "characters in a number": Case("neither text nor a list", {"uchars": 6}),
    "another end": Case("BOS 6, not 0", options=Options(end=End.FIRST)),
    "an end that is no token": Case("end token is 7, and its last token 6", {"BOS": 7}),
    "another width": Case("says n_embd 16, and its tensors have 8", {"n_embd": 16}),
    "another context": Case("says block_size 8, and its tensors have 12", {"block_size": 8}),
    "another vocabulary": Case("says vocab_size 27", {"vocab_size": 27}),
    "other layers": Case("says n_layer 1", {"n_layer": 1}),
    "other heads' width": Case("says head_dim 8", {"head_dim": 8}),
    "biases": Case("biases.*mlp_fc1.bias", tensors={"layer0.mlp_fc1.bias": np.zeros(HIDDEN)}),
    "a final norm": Case("does not have .norm_f", tensors={"norm_f.weight": np.ones(WIDTH)}),
    "no positions": Case("has no tensor wpe", tensors={"wpe": None}),
    "no value matrix": Case("attn_wv is missing|no tensor layer1.attn_wv",
                            tensors={"layer1.attn_wv": None}),
    "a misshapen tensor": Case(r"shape \(8, 7\) instead of \(8, 8\)",
                               tensors={"layer0.attn_wo": np.zeros((8, 7))}),
    "a vector": Case(r"shape \(8,\)", tensors={"wte": np.zeros(8)}),
    "NaN": Case("layer0.attn_wq .* NaN", tensors={"layer0.attn_wq": np.full((8, 8), np.nan)}),
    "integers": Case("holds int8, as quantised",
                     tensors={"layer0.attn_wq": np.zeros((8, 8), np.int8)}),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_disagrees_is_refused(name, tmp_path):
    case = REFUSED[name]
    tensors = {n: t for n, t in (random_tensors() | case.tensors).items() if t is not None}
    stated = {n: v for n, v in (STATED | case.stated).items() if v is not None}
    np.savez(tmp_path / "model.npz", **tensors, **stated)
    with pytest.raises(UserError, match=case.fault) as raised:
        read_microgpt(tmp_path / "model.npz", case.options)
    assert str(tmp_path / "model.npz") in str(raised.value)


class Harmful:
    """An object that runs a function when it is unpickled."""

    def __reduce__(self):
        return print, ("harm",)


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("model.npy", {"wte": Harmful()}, r"would run (builtins|__builtin__)\.print"),
        ("model.npy", [1, 2], "no tensors by name"),
    ],
)
def test_pickles_run_nothing(name, content, fault, tmp_path, capsys):
    whole = np.empty((), object)
    whole[()] = content
    np.save(tmp_path / name, whole, allow_pickle=True)
    with pytest.raises(UserError, match=fault):
        read_microgpt(tmp_path / name, Options())
    assert "harm" not in capsys.readouterr().out


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_that_is_cut_is_refused(name, tmp_path):
    WRITERS[name](tmp_path / name, random_tensors())
    content = (tmp_path / name).read_bytes()
    for share in (0.1, 0.5, 0.99):
        (tmp_path / name).write_bytes(content[: int(len(content) * share)])
        with pytest.raises(UserError, match=str(tmp_path)):
            read_microgpt(tmp_path / name, Options())


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("model.npy", pickle.dumps({}), "no file of tensors"),
        ("model.json", b'{"weights": {"wte": "much"}}', "wte of .* is no array of numbers"),
        ("model.json", b'{"weights": {"wte": [[1, 2], [3]]}}', "wte of .* is no array of numbers"),
        ("model.json", b'{"a": 1}', "no tensor wte"),
    ],
)
def test_foreign_contents_are_refused(name, content, fault, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=fault):
        read_microgpt(tmp_path / name, Options())


def test_a_plain_array_is_refused(tmp_path):
    np.save(tmp_path / "model.npy", np.zeros(4192))
    with pytest.raises(UserError, match="no tensors by name"):
        read_microgpt(tmp_path / "model.npy", Options())


@pytest.mark.shared
def test_files_of_other_people_are_read(shared_data):
    weights = shared_data / "microgpt-weights.json"
    checkpoint = read_microgpt(weights, Options())
    assert checkpoint.config.parameters == 4192
    stored = json.loads(weights.read_text())["weights"]
    for name, tensor in checkpoint.weights.items():
        np.testing.assert_array_equal(tensor, np.float32(stored[name]))
    options = Options(heads=4, characters="abcdefghijklmnopqrstuvwxyz")
    assert read_microgpt(shared_data / "inputs" / "state_dict.safetensors", options).config
