"""Calibration rows of a text, and of the model's own."""

from dataclasses import replace

import numpy as np
import pytest

from gptloom.model.checkpoint import Checkpoint
from gptloom.model.config import ModelConfig
from gptloom.model.errors import UserError
from gptloom.model.imports import calibration
from gptloom.model.imports.calibration import calibrate_by_sampling, calibrate_by_text
from gptloom.model.tokenizer import PADDING
from gptloom.model.tokenizers.characters import Characters

LEARNED = ModelConfig(1, 8, 2, 8, 6, 4)
ROTARY = ModelConfig(1, 8, 2, 8, 300, 4, positions="rotary", family="llama")


def checkpoint_of(config):
    random = np.random.default_rng(0)
    weights = {
        name: random.normal(0, 0.3, shape).astype(np.float32)
        for name, shape in config.weight_shapes().items()
    }
    tokenizer = Characters("abc")
    return Checkpoint(config, tokenizer, weights, tokenizer.rows([], config.context))


def test_lines_are_documents_of_learned_positions():
    rows = calibrate_by_text(checkpoint_of(LEARNED), "abc\n\n cab \naaaabbbb\n", 0).calibration
    assert rows.dtype == np.int16
    assert sorted(rows.tolist()) == [
        [3, 0, 0, 0, 0, 1, 1],
        [3, 0, 1, 2, 3, PADDING, PADDING],
        [3, 2, 0, 1, 3, PADDING, PADDING],
    ]


def test_other_texts_are_cut_into_rows_of_256():
    text = "abc" * 200
    rows = calibrate_by_text(checkpoint_of(ROTARY), text, 0).calibration
    assert rows.shape == (3, 301)
    assert [(row >= 0).sum() for row in rows] == [257, 257, 600 - 512 + 1]
    assert (rows[:, 0] == 3).all()
    tokens = np.concatenate([row[1:][row[1:] >= 0] for row in rows])
    assert Characters("abc").decode(tokens) == text


def test_long_texts_give_a_limited_number_of_rows():
    rows = calibrate_by_text(checkpoint_of(ROTARY), "abc" * 10_000, 0).calibration
    assert len(rows) == 64
    assert len(calibrate_by_text(checkpoint_of(LEARNED), "ab\n" * 600, 0).calibration) == 512


def test_text_that_the_tokenizer_does_not_know_is_refused():
    with pytest.raises(UserError, match="'x'"):
        calibrate_by_text(checkpoint_of(LEARNED), "abx", 0)


@pytest.mark.parametrize("config", [LEARNED, ROTARY], ids=["learned", "rotary"])
def test_sampled_rows_are_documents(config):
    told = []
    checkpoint = calibrate_by_sampling(
        checkpoint_of(config), 1, lambda done, of: told.append((done, of))
    )
    rows, most = checkpoint.calibration, min(config.context, 256)
    assert rows.dtype == np.int16
    assert rows.shape == (512 if config is LEARNED else 64, config.context + 1)
    for row in rows:
        tokens = row[row >= 0]
        assert tokens[0] == 3
        assert 3 not in tokens[1:-1]
        assert tokens[-1] == 3 or len(tokens) == most + 1
        assert (row[len(tokens) :] == PADDING).all()
    assert told[0] == (1, most)


def test_the_same_seed_gives_the_same_rows():
    checkpoint = checkpoint_of(LEARNED)
    one, same, other = (calibrate_by_sampling(checkpoint, seed).calibration for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_large_models_sample_less(monkeypatch):
    config = replace(ROTARY, context=32)
    monkeypatch.setattr(calibration, "_WORK", config.parameters * 100)
    rows = calibrate_by_sampling(checkpoint_of(config), 1).calibration
    assert len(rows) == 8
    assert max((row >= 0).sum() for row in rows) <= 100 // 8 + 1
