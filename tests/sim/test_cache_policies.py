"""What caches that evict cost."""

import numpy as np
import pytest

from gptloom.model.cache import Eviction
from gptloom.model.checkpoint import load_checkpoint
from gptloom.model.corpus import heldout_documents
from gptloom.model.golden import GoldenModel
from gptloom.model.loss import golden_loss
from gptloom.model.quantise import quantise
from gptloom.model.stream_loss import state_bits, stream_losses
from gptloom.sim.cache_plot import draw_policies
from gptloom.sim.cache_policies import Policy, measure_policies
from gptloom.sim.engines import open_engine


@pytest.fixture(scope="module")
def model():
    return quantise(load_checkpoint("names-alibi"))


def test_losses_along_streams_are_those_of_whole_sequences(model):
    rows = model.tokenizer.stream_rows(heldout_documents()[:400], 64)
    for cached in (model, model.with_cache(8, Eviction.WINDOW, 2)):
        mean = float(stream_losses(cached, rows).mean())
        assert mean == pytest.approx(golden_loss(GoldenModel(cached), rows), abs=1e-12)


def test_a_window_of_sixteen_forgets_nothing_that_names_need(model):
    rows = model.tokenizer.stream_rows(heldout_documents(), 512)
    kept, window, eight, four, attended = (
        stream_losses(model.with_cache(*cache), rows)[256:].mean()
        for cache in (
            (512, Eviction.NONE),
            (16, Eviction.WINDOW),
            (8, Eviction.WINDOW),
            (4, Eviction.WINDOW),
            (4, Eviction.ATTENTION),
        )
    )
    assert abs(window - kept) < 1e-4
    assert 0 < eight - kept < 0.001
    # Among very few rows, those that were attended are better than the last ones.
    assert four - kept > 0.2
    assert attended - kept < 0.13


def test_state_is_rows_and_what_is_known_of_them(model):
    assert state_bits(model.with_cache(16, Eviction.WINDOW).config) == 16 * 2 * 16 * 8
    assert state_bits(model.with_cache(16, Eviction.ATTENTION).config) == 16 * (2 * 16 * 8 + 23)


@pytest.mark.long
def test_every_figure_is_there(model):
    policies = (Policy(Eviction.NONE), Policy(Eviction.WINDOW, 8, 2), Policy(Eviction.RECURRENT))
    found = list(measure_policies(model, open_engine, (16, 512), policies))
    assert [f.policy for f in found] == [
        "all rows kept",
        "window, 8 rows, 2 of them sinks",
        "recurrent sums",
    ]
    assert found[0].bits == {16: 4096, 512: 131072}
    assert found[1].bits == {16: 2048, 512: 2048}
    # Of 64 rows and of 8, in a core with 16 lanes.
    assert found[0].cycles > found[1].cycles > 300 > found[2].cycles
    assert set(found[2].bits.values()) == {11664}
    assert found[2].losses[512] - found[0].losses[512] < 0.001
    assert np.mean(found[0].curve[256:]) == pytest.approx(found[0].losses[512])
    assert draw_policies(found).startswith(b"\x89PNG")
