"""Cores with ALiBi and a ring of rows, in any use, against the golden model."""

import itertools
import random
from dataclasses import replace

import numpy as np
import pytest
from amaranth.hdl import Fragment
from checkpoints import make_random_checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st
from small_core import SMALL, make_core, some_streams

from gptloom.hdl.unrolled.shape import Shape
from gptloom.hdl.unrolled.target import SIMULATED
from gptloom.model import sampling
from gptloom.model.cache import Eviction, KVCache
from gptloom.model.errors import UserError
from gptloom.model.merged.golden import GoldenModel, Stream
from gptloom.model.merged.quantise import quantise
from gptloom.sim.engines import open_engine
from gptloom.sim.session import cache_counters
from gptloom.sim.streams import StreamSession
from verification.stages import Scoreboard

ALIBI = replace(SMALL, context=16, positions="alibi")


def make_model(rows, eviction=Eviction.WINDOW, sinks=0, layers=1):
    """Return a small model with a cache."""
    model = quantise(make_random_checkpoint(replace(ALIBI, layers=layers), seed=0))
    return model.with_cache(rows, eviction, sinks)


@st.composite
def cores(draw):
    """Draw a model and its core's bits, positions and heads per cycle, and extra streams."""
    eviction = draw(st.sampled_from([Eviction.WINDOW, Eviction.WINDOW, Eviction.NONE]))
    # Documents that end with their rows have room for prompts.
    rows = draw(st.sampled_from([4, 8] if eviction is Eviction.NONE else [2, 4, 8]))
    sinks = draw(st.integers(0, rows - 1)) if eviction is Eviction.WINDOW else 0
    model = make_model(rows, eviction, sinks)
    positions = draw(st.sampled_from([n for n in (1, 2, 4) if n <= rows]))
    shape = (draw(st.sampled_from([1, 2, 8])), positions, draw(st.sampled_from([1, 2])))
    return model, shape, draw(st.integers(0, 2))


def play(core, engine, model, streams, draw, tokens):
    """Compare the streams' samples until each has `tokens` tokens; some of them wait."""
    golden, counts = GoldenModel(model), [0] * len(streams)
    expected = [golden.generate(s.seed, s.temperature, s.prompt) for s in streams]
    session = StreamSession(core, engine, model, streams)
    for seen in session.tokens():
        right = next(expected[seen.stream])
        assert (seen.token, seen.position, seen.last) == (right.token, right.position, right.last)
        counts[seen.stream] += 1
        if min(counts) >= tokens:
            break
        if draw.random() < 0.1:
            session.stall(draw.randrange(1, 2 * core.streams * core.interval))


def held_rows(model, stream):
    """Yield the rows that a stream's golden cache holds, for each of its tokens."""
    golden, cache = GoldenModel(model), None

    def new_cache(batch):
        nonlocal cache
        cache = KVCache(model.config, batch)
        return cache

    golden.new_cache = new_cache
    for _ in golden.generate_streams([stream]):
        yield (cache.born[0] >= 0).tolist()


def check_rows(core, model, streams, recorded):
    """Check that attention reads rows of a token's own stream, and counts those that are held."""
    held = [held_rows(model, stream) for stream in streams]
    for cycle in np.flatnonzero(recorded["turns.enter"]).tolist():
        stream = int(recorded["turns.turn"][cycle])
        expected, begin = next(held[stream]), cycle + core.schedules[0].begin
        if begin + core.beats >= len(recorded["turns.enter"]):
            return
        for row, is_held in enumerate(expected):
            beat, lane = divmod(row, core.positions)
            # Addressed in the cycle before the token's own row is valid, used two cycles later.
            assert recorded["attention_0.keys.stream"][begin + beat - 1] == stream
            assert recorded["attention_0.keys.beat"][begin + beat - 1] == beat
            assert recorded[f"attention_0.scores.seen__{lane}"][begin + beat + 1] == is_held


def check_counters(model, streams, recorded, before, counted):
    """Check that tokens write a row and attend to held ones; a full ring loses one with each.

    The rows in use are those after the tokens counted in the cycle before.
    """
    held, rows = [held_rows(model, stream) for stream in streams], [0] * len(streams)
    entered = recorded["turns.turn"][recorded["turns.enter"] != 0].tolist()
    # The last ones are still in the pipeline.
    assert 0 <= len(entered) - counted["writes"] <= 2
    reads = evictions = 0
    occupancy = []
    for stream in entered[: counted["writes"]]:
        evictions += model.config.endless and rows[stream] == model.config.context
        rows[stream] = sum(next(held[stream]))
        reads += rows[stream] * model.config.layers
        occupancy.append(rows[stream])
    assert (counted["reads"], counted["evictions"]) == (reads, evictions)
    assert counted["occupancy"] == occupancy[before["writes"] - 1]
    assert (counted["hits"], counted["reused"]) == (0, 0)


def check_use(made, seed):
    """Use a core, reset it, and use it again: every value is golden, with the right rows."""
    model, shape, more = made
    draw = random.Random(seed)
    core = make_core(model, *shape, SIMULATED)
    if more:
        # Amaranth warns of unused hardware.
        Fragment.get(core, None)
        core = Shape(*shape, streams=core.streams + more).make(model)
    used = max(1, core.streams - draw.randrange(3))
    with open_engine(core, "pysim") as engine:
        # These leave rows behind, which must not be visible after the reset.
        play(core, engine, model, some_streams(model, core.streams, seed + 1), draw, 4)
        for port in ("i__valid", "seed__valid"):
            engine.poke(port, 0)
        engine.poke("rst", 1)
        engine.step(core.interval)
        engine.poke("rst", 0)
        streams = some_streams(model, used, seed)
        scoreboard = Scoreboard(core, model, streams)
        seen = [f"attention_0.scores.seen__{lane}" for lane in range(core.positions)]
        read = ["attention_0.keys.stream", "attention_0.keys.beat"]
        engine.record([*scoreboard.signals, *seen, *read])
        play(core, engine, model, streams, draw, model.config.context + 4)
        before = cache_counters(engine)
        engine.step(1)
        counted = cache_counters(engine)
        recorded = engine.recording()
        widths = {name: engine.width(name) for name in recorded}
    assert scoreboard.check(recorded, widths) > 100 * used * model.config.context
    check_rows(core, model, streams, recorded)
    check_counters(model, streams, recorded, before, counted)


@settings(max_examples=10, deadline=None, derandomize=True, database=None)
@given(cores(), st.integers(1, 1000))
@pytest.mark.nightly
def test_a_core_is_the_golden_model_for_ever(made, seed):
    check_use(made, seed)


@pytest.mark.nightly
@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(cores(), st.integers(1001, 2000))
def test_any_core_is_the_golden_model_for_ever(made, seed):
    check_use(made, seed)


@pytest.mark.nightly
@pytest.mark.parametrize(("rows", "sinks"), [(4, 0), (8, 3)])
def test_two_layers_without_end(rows, sinks):
    check_use((make_model(rows, sinks=sinks, layers=2), (2, 2, None), 0), 1)


@pytest.mark.long
def test_a_prompt_ends_a_stream_where_a_document_ends():
    model = make_model(4)
    core = make_core(model, 2, 2, None, SIMULATED)
    golden, bos, stream = GoldenModel(model), model.tokenizer.bos, Stream(9, 1.0)
    with open_engine(core, "pysim") as engine:
        session = StreamSession(core, engine, model, [stream])
        pairs = zip(session.tokens(), golden.generate(9, 1.0), strict=False)
        drawn = 0
        for seen, right in itertools.islice(pairs, 11):
            assert (seen.token, seen.position) == (right.token, right.position)
            drawn += 1
        # Offered while the stream goes on, it is taken at the next end, and sees no earlier rows.
        session.ask(0, [bos, 1])
        for seen, right in pairs:
            assert (seen.token, seen.last) == (right.token, right.last)
            drawn += 1
            if seen.last:
                break
        seen, noise = next(session.tokens()), sampling.noise(9)
    for _ in range(drawn * model.config.vocabulary):
        next(noise)
    cache = golden.new_cache()
    for place, token in enumerate((bos, 1)):
        outputs = golden.step(np.array([token]), place, cache)
    values = np.array([next(noise) for _ in range(model.config.vocabulary)])
    noisy = golden.noisy(outputs, golden.scaled_noise(values, model.noise_scale(1.0)))
    assert (seen.token, seen.position) == (sampling.draw(noisy[0], 0), 1)


@pytest.mark.long
def test_a_seed_ends_a_stream_where_a_document_ends():
    model = make_model(4)
    core = make_core(model, 2, 2, None, SIMULATED)
    golden, bos = GoldenModel(model), model.tokenizer.bos
    with open_engine(core, "pysim") as engine:
        session = StreamSession(core, engine, model, [Stream(9, 1.0)])
        pairs = zip(session.tokens(), golden.generate(9, 1.0), strict=False)
        for seen, right in itertools.islice(pairs, 11):
            assert seen.token == right.token
        session.ask(0, [bos], seed=77)
        for seen, right in pairs:
            assert (seen.token, seen.last) == (right.token, right.last)
            if seen.last:
                break
        again = zip(session.tokens(), golden.generate(77, 1.0), strict=False)
        for seen, right in itertools.islice(again, 20):
            assert (seen.token, seen.position) == (right.token, right.position)


@pytest.mark.parametrize(
    ("rows", "message"), [(6, "6 rows: only powers of two"), (12, "12 rows: only powers of two")]
)
def test_other_numbers_of_rows_are_refused(rows, message):
    with pytest.raises(UserError, match=message):
        Shape(positions_per_cycle=2).make(make_model(rows))
