"""The picture beside a checkpoint replaces only pictures that training has made."""

import numpy as np
import pytest
from PIL import Image

from gptloom.model.checkpoint import Checkpoint
from gptloom.model.config import ModelConfig
from gptloom.model.errors import UserError
from gptloom.model.loss_curve import LossCurve, check_picture, write_results
from gptloom.model.tokenizer import Tokenizer

CURVE = LossCurve([3.0, 2.5, 2.0], {0: 3.0, 2: 2.1})


@pytest.fixture
def checkpoint():
    config = ModelConfig(width=8, hidden=16, context=6, vocabulary=4)
    tokenizer = Tokenizer("abc")
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
    # The weights, which took longest, are there.
    assert path.exists()
