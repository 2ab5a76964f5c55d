"""Integer models that are kept for later runs."""

from dataclasses import replace

import platformdirs
import pytest

from gptloom.cli import quantised as module
from gptloom.model import quantise
from gptloom.model.checkpoint import load_checkpoint
from gptloom.model.config import ModelConfig
from gptloom.model.formats import COARSE
from verification.llama import make_checkpoint

CONFIG = ModelConfig(1, 16, 4, 20, 12, 9, family="llama", positions="rotary", kv_heads=2)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda name: str(tmp_path / name))
    return tmp_path / "gptloom" / "models"


@pytest.fixture
def made(monkeypatch):
    """Return the list of models that are quantised."""
    usual, made = quantise.quantise, []

    def count(checkpoint, precision):
        made.append(precision)
        return usual(checkpoint, precision)

    monkeypatch.setattr(quantise, "quantise", count)
    return made


def test_a_model_is_made_once_for_every_choice(made, monkeypatch):
    checkpoint = load_checkpoint("names-24")
    first = module.quantised(checkpoint)
    again = module.quantised(checkpoint)
    assert len(made) == 1
    assert again.tokenizer is checkpoint.tokenizer
    assert (again.shifts, again.metadata) == (first.shifts, first.metadata)
    assert all((again.weights[name] == first.weights[name]).all() for name in first.weights)
    monkeypatch.setattr("gptloom.sim.engines.cache.code_digest", lambda *_: "other code")
    module.quantised(checkpoint)
    assert len(made) == 2


def test_other_weights_and_profiles_are_other_models(made):
    for seed, profile in ((1, None), (2, None), (1, "J2"), (1, None), (1, "J2")):
        module.quantised(make_checkpoint(CONFIG, seed), profile)
    assert made == [None, None, COARSE]


def test_a_model_with_a_notice_is_made_every_time(made):
    checkpoint = load_checkpoint("names-24")
    weights = checkpoint.weights | {"lm_head": -checkpoint.weights["lm_head"]}
    worse = replace(checkpoint, weights=weights, metadata={})
    for count in (1, 2):
        module.quantised(worse)
        assert len(made) == count


def test_damaged_files_are_made_anew(made, cache):
    checkpoint = load_checkpoint("names-24")
    module.quantised(checkpoint)
    (entry,) = cache.iterdir()
    entry.write_bytes(entry.read_bytes()[:-5])
    module.quantised(checkpoint)
    assert len(made) == 2
