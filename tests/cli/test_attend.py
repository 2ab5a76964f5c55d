"""`gptloom attend`: weights from the hardware's tap, and their maps."""

import json

import numpy as np
import pytest
from PIL import Image

from gptloom.cli.main import main
from gptloom.model.checkpoint import load_checkpoint
from gptloom.model.float_model import FloatModel
from gptloom.model.quantise import quantise


def softmax(scores):
    powers = np.exp(scores - scores.max())
    return powers / powers.sum()


def float_weights(checkpoint, tokens):
    """Return the last token's attention in floating point, [heads, positions], by the equations."""
    model = FloatModel(checkpoint.config, checkpoint.weights)
    w, config = model.weights, model.config
    x = w["wte"][tokens] + w["wpe"][: len(tokens)]
    for _ in range(2):
        x = x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + 1e-5)
    q, k = (x @ w[f"layer0.attn_w{name}"].T for name in "qk")
    size = config.head_width
    return np.array(
        [
            softmax(k[:, head : head + size] @ q[-1, head : head + size] / np.sqrt(size))
            for head in range(0, config.width, size)
        ]
    )


def test_weights_are_those_of_the_network(tmp_path, capsys):
    file, picture = tmp_path / "a.json", tmp_path / "a.png"
    options = ["--prompt", "mar", "--top", "2", "--json", str(file), "--picture", str(picture)]
    assert main(["attend", *options]) == 0
    found = json.loads(file.read_text())
    checkpoint = load_checkpoint("names")
    assert found["tokens"][:4] == ["-", "m", "a", "r"]
    tokens = [quantise(checkpoint).tokenizer.bos] + [
        checkpoint.tokenizer.encode(label)[0] for label in found["tokens"][1:-1]
    ]
    for place, token in enumerate(found["attended"]):
        assert token["seen"] == list(range(place + 1))
        weights = np.array(token["weights"][0])
        if place < 3:
            # A prompt's tokens have no attention in the last layer: it is not needed.
            assert not weights.any()
            continue
        assert weights.sum(axis=1) == pytest.approx(1, abs=1e-3)
        expected = float_weights(checkpoint, tokens[: place + 1])
        assert np.abs(weights - expected).max() < 0.05
    printed = capsys.readouterr().out
    assert "layer 0, head 3" in printed
    assert "r: a at 2" in printed
    assert "m: not computed" in printed
    with Image.open(picture) as image:
        assert image.format == "PNG"


@pytest.mark.nightly
def test_what_was_evicted_is_not_seen(tmp_path, capsys):
    file = tmp_path / "a.json"
    options = ["--checkpoint", "names-alibi", "--cache", "window", "--rows", "8", "--sinks", "2"]
    assert main(["attend", "--count", "3", *options, "--json", str(file)]) == 0
    attended = json.loads(file.read_text())["attended"]
    assert len(attended) > 12
    for place, token in enumerate(attended):
        kept = {0, 1, *range(max(2, place - 5), place + 1)} if place >= 8 else set(range(place + 1))
        assert set(token["seen"]) == kept
    assert "·" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--prompt", "é"], "not in the vocabulary"),
        (["--prompt", "abcdefghijklmnopq"], "shorten it"),
        (["--picture", "nowhere/a.png"], "there is no folder"),
        (["--cache", "window"], "learned positions"),
    ],
)
def test_bad_input_is_named(arguments, says, capsys):
    assert main(["attend", *arguments]) == 2
    assert says in " ".join(capsys.readouterr().err.split())
