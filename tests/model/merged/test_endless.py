"""Endless streams of the merged model: ALiBi and a window, at once and step by step."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptloom.model import sampling
from gptloom.model.cache import Eviction
from gptloom.model.checkpoint import load_checkpoint
from gptloom.model.config import ModelConfig
from gptloom.model.errors import UserError
from gptloom.model.golden import MAX_POSITION
from gptloom.model.loss import golden_loss, measurement_rows
from gptloom.model.merged.golden import GoldenModel, Stream
from gptloom.model.merged.integer import Widths
from gptloom.model.merged.quantise import quantise

ALIBI = ModelConfig(width=8, heads=2, hidden=8, context=40, vocabulary=5, positions="alibi")


@pytest.fixture(scope="module")
def small(random_checkpoint):
    """Return models of one and of two layers."""
    return [quantise(random_checkpoint(replace(ALIBI, layers=layers))) for layers in (1, 2)]


def window(model, rows, sinks=0):
    return model.with_cache(rows, Eviction.WINDOW, sinks)


@pytest.mark.nightly
def test_integers_lose_little(quantised):
    stated = quantised("names-alibi").metadata
    assert 0 < stated["integer_loss"] - stated["float_loss"] < 0.002


@pytest.mark.nightly
def test_few_weight_bits_and_few_rows_lose_little(quantised):
    stated = quantised("names-alibi").metadata
    fewer = quantised("names-alibi", Widths(weights=6)).metadata
    assert fewer["integer_loss"] - fewer["float_loss"] < 0.01
    # Sixteen rows are as good as all.
    model = window(quantised("names-alibi"), 16)
    rows, _ = measurement_rows(load_checkpoint("names-alibi"))
    found = golden_loss(GoldenModel(model), rows)
    assert found == pytest.approx(stated["integer_loss"], abs=1e-4)


@settings(max_examples=20, deadline=None, derandomize=True, database=None)
@given(
    st.integers(0, 1),
    st.integers(2, 9),
    st.integers(0, 3),
    st.lists(st.integers(1, 30), min_size=3),
)
def test_a_window_at_once_is_a_window_step_by_step(small, which, rows, sinks, lengths):
    """Several documents side by side, each of which ends at its own time and restarts."""
    golden = GoldenModel(window(small[which], rows, min(sinks, rows - 1)))
    streams, draw = 3, np.random.default_rng(rows)
    documents = [draw.integers(0, 5, length) for length in lengths]
    whole = [golden.outputs(tokens[None]) for tokens in documents]
    # Documents are dealt out to the streams.
    walks = [
        [(number, place) for number in range(first, len(documents), streams)
         for place in range(len(documents[number]))]
        for first in range(streams)
    ]  # fmt: skip
    cache = golden.new_cache(streams)
    for step in itertools.zip_longest(*walks, fillvalue=(0, 0)):
        tokens = np.array([documents[number][place] for number, place in step])
        outputs = golden.step(tokens, np.array([place for _, place in step]), cache)
        for stream, (number, place) in enumerate(step):
            for value, expected in zip(outputs, whole[number], strict=True):
                assert (value[stream] == expected[0, place]).all()


def test_what_a_window_has_forgotten_changes_nothing(small):
    tokens = np.random.default_rng(4).integers(0, 5, (2, 40))
    changed = tokens.copy()
    changed[:, 0] = (changed[:, 0] + 1) % 5
    for rows, sinks, same in ((8, 0, True), (8, 1, False), (40, 0, False)):
        golden = GoldenModel(window(small[0], rows, sinks))
        late = [golden.nats(each)[:, 8:] for each in (tokens, changed)]
        assert (late[0] == late[1]).all() == same


def test_streams_go_on_after_documents(small):
    model = window(small[0], 6, 1)
    golden, bos = GoldenModel(model), model.tokenizer.bos
    streams = [Stream(7, 1.0, (1, 2)), Stream(8, 2.0), Stream(9, 0, (3,) * 20)]
    steps = list(itertools.islice(golden.generate_streams(streams), 300))
    for index, stream in enumerate(streams):
        found = [items[index] for items in steps if items[index]]
        assert len(found) == 300 - len(stream.prompt)
        places = itertools.accumulate(
            found, lambda at, t: 0 if t.last else at + 1, initial=len(stream.prompt)
        )
        assert [t.position for t in found] == [min(at, MAX_POSITION) for at in places][:-1]
        assert [t.last for t in found] == [t.token == bos for t in found]
        # Each token follows from all before it, across the ends of documents.
        tokens = [bos, *stream.prompt, *(t.token for t in found)]
        outputs = golden.outputs(np.array([tokens[:-1]]))
        noise, scale = sampling.noise(stream.seed), model.noise_scale(stream.temperature)
        for place in range(len(stream.prompt), len(tokens) - 1):
            values = np.array([next(noise) for _ in range(5)])
            here = type(outputs)(*(value[0, place] for value in outputs))
            noisy = golden.noisy(here, golden.scaled_noise(values, scale))
            assert sampling.draw(noisy, 0) == tokens[place + 1]


def test_without_eviction_a_document_ends_with_its_rows(small):
    model = small[0].with_cache(4, Eviction.NONE)
    found = list(itertools.islice(GoldenModel(model).generate(1, 1.0), 200))
    bos = model.tokenizer.bos
    assert [t.last for t in found] == [t.token == bos or t.position == 3 for t in found]
    assert {t.position for t in found if t.last and t.token != bos} == {3}
    cache = GoldenModel(model).new_cache()
    with pytest.raises(UserError, match="use 0 to 3"):
        GoldenModel(model).step(np.array([0]), 4, cache)


def test_what_cannot_be_is_refused(small, quantised):
    for eviction in (Eviction.ATTENTION, Eviction.RECURRENT):
        with pytest.raises(UserError, match=f"--cache {eviction} would need: choose a window, or"):
            small[0].with_cache(8, eviction)
    with pytest.raises(UserError, match="learned positions end"):
        window(quantised("names"), 16)
    with pytest.raises(UserError, match="learned positions are 16, not 8"):
        quantised("names").with_cache(8, Eviction.NONE)
