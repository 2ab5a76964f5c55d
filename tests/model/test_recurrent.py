"""The recurrent form against sums over the whole past, and against a cache that keeps all rows."""

from dataclasses import replace

import numpy as np
import pytest
from stream_loss import losses_of

from gptloom.model.cache import Eviction
from gptloom.model.checkpoint import load_checkpoint
from gptloom.model.config import ModelConfig
from gptloom.model.corpus import heldout_documents
from gptloom.model.errors import UserError
from gptloom.model.golden import GoldenModel
from gptloom.model.quantise import quantise
from gptloom.model.recurrent import RecurrentModel, StateWidths, golden_of

ALIBI = ModelConfig(width=8, heads=2, hidden=8, context=64, vocabulary=5, positions="alibi")


@pytest.fixture(scope="module")
def names():
    return quantise(load_checkpoint("names-alibi"))


def test_sums_are_those_over_everything_that_was(random_model):
    """Numerator and denominator, from scores and values of all earlier tokens, in real numbers."""
    model = random_model(ALIBI, 2, 3)
    golden = RecurrentModel(model, StateWidths(table=14, fraction=30))
    tokens = np.random.default_rng(1).integers(0, 5, 80)
    traced = {}
    GoldenModel(model).logits(
        np.arange(5)[:, None], lambda _, site, value: traced.setdefault(site, value)
    )
    q, k, v = (traced[site].reshape(5, 2, 4) for site in "qkv")
    scores = np.einsum("qhd,thd->hqt", q, k) / 2**7
    state = golden.new_cache()
    for place, token in enumerate(tokens):
        golden.step(np.array([token]), place, state)
        if place % 9:
            continue
        for head, octaves in enumerate((4, 1)):
            rounded = np.clip(np.floor(scores[head, token] + 0.5), -512, 511)
            past = tokens[: place + 1]
            exponent = (rounded[past] - rounded.max()) / 16
            weights = 2.0 ** (exponent - octaves * (place - np.arange(place + 1)))
            mix = weights @ v[past, head] / weights.sum()
            total, *weighted = state.sums[0, head, token]
            # Weights are at most one, with 14 bits in the table.
            assert np.array(weighted) / total == pytest.approx(
                mix, abs=0.01 + 128 * 2.0**-13 / weights.sum()
            )


def test_the_cache_that_is_named_is_the_one_that_is_used(random_model):
    model = random_model(ALIBI, 2)
    named = golden_of(model.with_cache(64, Eviction.RECURRENT))
    tokens = np.random.default_rng(4).integers(0, 5, (3, 20))
    np.testing.assert_array_equal(named.logits(tokens), RecurrentModel(model).logits(tokens))
    assert type(golden_of(model)) is GoldenModel


@pytest.mark.long
def test_names_in_a_row_lose_nothing_by_it(names):
    rows = names.tokenizer.stream_rows(heldout_documents(), 512)
    kept = losses_of(GoldenModel(names.with_cache(512, Eviction.NONE)), rows)
    recurrent = RecurrentModel(names)
    assert recurrent.state_bits == 11664
    found = losses_of(recurrent, rows)
    assert found.mean() - kept.mean() == pytest.approx(0.0003, abs=1e-4)
    assert found[256:].mean() - kept[256:].mean() == pytest.approx(0.0006, abs=1e-4)


def test_whole_sequences_are_steps(random_model):
    golden = RecurrentModel(random_model(ALIBI, 3))
    tokens = np.random.default_rng(4).integers(0, 5, (3, 20))
    state = golden.new_cache(3)
    steps = [golden.step(tokens[:, place], place, state) for place in range(20)]
    np.testing.assert_array_equal(golden.logits(tokens), np.stack(steps, axis=1))


def test_other_models_are_refused(random_model):
    for config in (replace(ALIBI, layers=2), ModelConfig()):
        with pytest.raises(UserError, match="one layer and ALiBi"):
            RecurrentModel(random_model(config, 1))
    with pytest.raises(UserError, match="need one layer"):
        replace(ALIBI, layers=2, eviction="recurrent")
    with pytest.raises(UserError, match="learned positions end"):
        ModelConfig(eviction="recurrent")
    with pytest.raises(UserError, match="table of 15 bits"):
        StateWidths(table=15)
