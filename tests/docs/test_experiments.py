"""Experiments quoted in documents: the cost of caches that evict, the savings of kept prefixes."""

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from cache_policies import Policy, draw_policies, measure_policies
from prefix_reuse import TURNS, measure_reuse, measure_turns
from stream_loss import state_bits, stream_losses

from gptloom.firmware.machine import Machine
from gptloom.model.cache import Eviction
from gptloom.model.checkpoint import load_checkpoint
from gptloom.model.config import ModelConfig
from gptloom.model.corpus import heldout_documents
from gptloom.model.golden import GoldenModel
from gptloom.model.loss import golden_loss
from gptloom.model.quantise import quantise
from gptloom.sim.engines import open_engine

pytestmark = pytest.mark.long

FOLDER = Path(__file__).parents[2] / "docs" / "experiments"


@pytest.fixture(scope="module")
def model():
    return quantise(load_checkpoint("names-alibi"))


@pytest.mark.nightly
def test_losses_along_streams_are_those_of_whole_sequences(model):
    rows = model.tokenizer.stream_rows(heldout_documents()[:400], 64)
    for cached in (model, model.with_cache(8, Eviction.WINDOW, 2)):
        mean = float(stream_losses(cached, rows).mean())
        assert mean == pytest.approx(golden_loss(GoldenModel(cached), rows), abs=1e-12)


@pytest.mark.nightly
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
    # With very few rows, those with the most attention are better than the last ones.
    assert four - kept > 0.2
    assert attended - kept < 0.13


def test_state_is_rows_and_what_is_known_of_them(model):
    assert state_bits(model.with_cache(16, Eviction.WINDOW)) == 16 * 2 * 16 * 8
    assert state_bits(model.with_cache(16, Eviction.ATTENTION)) == 16 * (2 * 16 * 8 + 23)


@pytest.mark.nightly
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
    # Cycles with 64 rows and with 8, in a core with 16 lanes.
    assert found[0].cycles > found[1].cycles > 300 > found[2].cycles
    assert set(found[2].bits.values()) == {11664}
    assert found[2].losses[512] - found[0].losses[512] < 0.001
    assert np.mean(found[0].curve[256:]) == pytest.approx(found[0].losses[512])
    assert draw_policies(found).startswith(b"\x89PNG")


@pytest.mark.nightly
def test_savings_grow_with_the_prefix(random_model):
    config = ModelConfig(width=8, heads=2, hidden=8, context=12, vocabulary=5)
    machine = Machine.for_models(16, config, slots=1)
    rows = list(measure_reuse(random_model(config, 3), machine, open_engine))
    assert [row.known for row in rows] == list(range(1, 13))
    saved = [row.computed - row.reused for row in rows]
    # Every known token but the last is saved, each the same cost; the search takes some cycles.
    assert -10 < saved[0] <= 0
    assert {more - less for less, more in pairwise(saved)} == {saved[1] - saved[0]}
    assert saved[1] > 30


@pytest.mark.nightly
def test_prompts_that_take_turns_need_slots_of_their_own():
    """One slot shares only the begin token; four prompts in four slots are computed once."""
    model = quantise(load_checkpoint("names"))
    one, four = (
        measure_turns(model, Machine.for_models(16, model.config, slots=slots), open_engine)
        for slots in (1, 4)
    )
    # From the second document on the begin token is in the slot; john and anna share no more.
    assert one.reused >= 19
    # Each document computes its last known token, and each prompt's first document all of them.
    assert four.reused == 4 * sum(map(len, TURNS))
    assert four.cycles < one.cycles


@pytest.mark.parametrize(
    ("script", "arguments", "says"),
    [
        ("cache_policies", ["--checkpoint", "names"], "learned positions end with the context"),
        ("cache_policies", ["--plot", "nowhere/x.png"], "there is no folder nowhere"),
        ("prefix_reuse", ["--lanes", "5"], "5 lanes cannot be built"),
    ],
)
def test_a_script_refuses_what_cannot_be_measured(script, arguments, says):
    command = [sys.executable, FOLDER / f"{script}.py", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr
