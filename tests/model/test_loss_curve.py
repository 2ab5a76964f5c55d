"""The picture of a loss curve shows its data, and replaces only pictures that training has made."""

import numpy as np
import pytest
from PIL import Image

from gptloom.model.baselines import ORDERS
from gptloom.model.checkpoint import Checkpoint, load_checkpoint
from gptloom.model.config import ModelConfig
from gptloom.model.errors import UserError
from gptloom.model.loss_curve import LossCurve, check_picture, write_results
from gptloom.model.tokenizers.characters import Characters

CURVE = LossCurve([3.0, 2.5, 2.0], {0: 3.0, 2: 2.1})


@pytest.fixture
def checkpoint():
    config = ModelConfig(width=8, hidden=16, context=6, vocabulary=4)
    tokenizer = Characters("abc")
    weights = {name: np.zeros(shape, np.float32) for name, shape in config.weight_shapes().items()}
    metadata = {"heldout": {"loss": 2.1}, "baselines": {"bigram": 2.4}}
    return Checkpoint(config, tokenizer, weights, tokenizer.rows(["ab"], config.context), metadata)


def test_training_again_draws_again(tmp_path, checkpoint):
    path = tmp_path / "x.safetensors"
    picture = write_results(path, checkpoint, CURVE)
    assert picture == tmp_path / "x.png"
    before = picture.read_bytes()
    write_results(path, checkpoint, LossCurve([3.0, 1.0, 2.0], CURVE.heldout))
    assert picture.read_bytes() != before
    with Image.open(picture) as image:
        image.load()
        assert image.size == (960, 540)


@pytest.mark.parametrize("spoil", [lambda made: b"my holiday", lambda made: made + b" "])
def test_another_picture_stays(tmp_path, checkpoint, spoil):
    path, picture = tmp_path / "x.safetensors", tmp_path / "x.png"
    write_results(path, checkpoint, CURVE)
    mine = spoil(picture.read_bytes())
    picture.write_bytes(mine)
    path.unlink()
    with pytest.raises(UserError, match=r"x\.png, where a file is that no training has made"):
        check_picture(path)
    with pytest.raises(UserError, match=r"x\.png"):
        write_results(path, checkpoint, CURVE)
    assert picture.read_bytes() == mine
    # The weights, which took longest, are saved.
    assert path.exists()


BASELINES = dict.fromkeys(ORDERS, 2.4)


def shown(curve):
    low, high = curve.limits(BASELINES.values())
    points = [*curve.training, *curve.heldout.values()]
    return sum(low < loss < high for loss in points) / len(points)


@pytest.mark.parametrize(
    "curve",
    [
        LossCurve([3.3], {1: 3.2}),
        LossCurve([3.3, 3.2, 3.1], {1: 3.2, 2: 3.1, 3: 3.0}),
        # Overfitting: one loss far below, the other far above the kept one.
        LossCurve([3.3, *np.linspace(2.5, 0.4, 99)], {1: 3.0, 20: 2.4, 60: 5.0, 100: 7.4}, kept=20),
        LossCurve([*np.geomspace(3.3, 2.1, 14_000)], {280 * i: 2.1 for i in range(1, 51)}),
    ],
)
def test_a_picture_shows_its_data(curve):
    assert shown(curve) > 0.95
    low, high = curve.limits(BASELINES.values())
    assert low < 2.4 < high
    assert all(low < loss < high for loss in curve.heldout.values())


def test_an_outlier_does_not_flatten_the_rest():
    curve = LossCurve([*[2.2] * 500, 30.0, *[2.1] * 500], {1001: 2.1})
    assert curve.limits(BASELINES.values())[1] < 3


def test_single_points_are_drawn(tmp_path):
    """A run of one step draws a point where a run of none draws nothing."""
    checkpoint = load_checkpoint("names")
    blue = []
    for curve in (LossCurve([], {}), LossCurve([2.3], {1: 2.2}, kept=1)):
        picture = write_results(tmp_path / "out.safetensors", checkpoint, curve)
        pixels = np.asarray(Image.open(picture).convert("RGB")).astype(int)
        blue.append(int((pixels[..., 2] - pixels[..., 0] > 50).sum()))
    # The legend has blue in both.
    assert blue[1] > blue[0] + 10


def test_metadata_say_how_far_it_came():
    assert LossCurve([1.0, 2.0], {}, kept=1).steps_made() == {"steps_made": 2, "kept_step": 1}
    assert LossCurve([1.0], {}, interrupted=True).steps_made()["interrupted"] is True
