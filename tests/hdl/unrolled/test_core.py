"""The unrolled core's tokens against the golden model's, stream by stream."""

import itertools
import random

import pytest
from amaranth.lib import data
from small_core import make_core, random_model, some_streams

from gptloom.hdl.core import Counters
from gptloom.hdl.unrolled.core import UnrolledCore
from gptloom.hdl.unrolled.dense import SlicedDense
from gptloom.hdl.unrolled.target import SIMULATED, Target
from gptloom.model.merged.golden import GoldenModel, Stream
from gptloom.sim.engines import open_engine
from gptloom.sim.streams import StreamSession, generate_streams

# One process compiles the core that most of these use.
pytestmark = pytest.mark.xdist_group("unrolled core")


@pytest.fixture(scope="module")
def simulated(merged):
    """Return a core and its simulation, which takes a minute to compile once."""
    model = merged("names")
    core = UnrolledCore(model)
    with open_engine(core) as engine:
        yield model, core, engine


def golden_run(model, stream):
    """Return the golden model's samples for a stream alone."""
    return GoldenModel(model).generate(stream.seed, stream.temperature, stream.prompt)


def various(model, count):
    """Return streams with different seeds, temperatures and prompts."""
    draw = random.Random(count)
    prompts = ["", "", "jo", "mar", "x", "abcdefghijklmno"]
    return [
        Stream(
            draw.randrange(1, 1 << 32),
            draw.choice((0, 0.1, 0.5, 0.7, 1.0, 2.0)),
            tuple(model.tokenizer.encode(prompts[number % len(prompts)])),
        )
        for number in range(count)
    ]


@pytest.mark.nightly
def test_every_stream_is_the_golden_models(simulated):
    model, core, engine = simulated
    generation = generate_streams(core, engine, model, various(model, core.streams), 150)
    assert {stream for stream, _ in generation.documents} == set(range(core.streams))
    counters = data.Layout.cast(Counters).from_bits(engine.peek("counters"))
    assert counters.stalls == 0
    assert counters.tokens - generation.tokens in (0, 1)
    # Each stream's own counter is seen in its turn; tokens go on to be sampled meanwhile.
    for _ in range(core.streams):
        turn, tokens = engine.peek("turn"), engine.peek("tokens")
        assert tokens - generation.tokens_of[turn] in (0, 1, 2)
        engine.step(core.interval)


@pytest.mark.nightly
def test_a_stream_alone_takes_as_long(simulated):
    model, core, engine = simulated
    generation = generate_streams(core, engine, model, [Stream(5, 0.7)], 5)
    # A document's first token comes one round after the last token of the document before; for
    # the very first, the cycle in which it is taken counts as well.
    lap = core.streams * core.interval
    first, *others = [token.cycles for token in generation.emitted]
    assert set(others) == {lap}
    assert first - lap in (0, 1)
    assert lap <= 40


@pytest.mark.nightly
def test_tokens_that_nobody_takes_wait(simulated):
    model, core, engine = simulated
    engine.reset()
    streams, draw = various(model, core.streams - 1), random.Random(1)
    session = StreamSession(core, engine, model, streams)
    expected = [golden_run(model, stream) for stream in streams]
    for token in itertools.islice(session.tokens(), 400):
        right = next(expected[token.stream])
        assert (token.token, token.position, token.last) == (
            right.token,
            right.position,
            right.last,
        )
        if draw.randrange(3) == 0:
            session.stall(draw.randrange(1, 2 * core.streams * core.interval))
    counters = data.Layout.cast(Counters).from_bits(engine.peek("counters"))
    assert counters.stalls > 0


@pytest.mark.nightly
def test_a_reset_begins_anew(simulated):
    model, core, engine = simulated
    streams = various(model, core.streams)
    first = generate_streams(core, engine, model, streams, 20)
    engine.poke("rst", 1)
    engine.step()
    engine.poke("rst", 0)
    session = StreamSession(core, engine, model, streams)
    expected = [golden_run(model, stream) for stream in streams]
    for token in itertools.islice(session.tokens(), first.tokens):
        right = next(expected[token.stream])
        assert (token.token, token.position) == (right.token, right.position)


@pytest.mark.nightly
def test_with_products_as_they_are_made(merged):
    """Two tokens of each stream, in Amaranth's simulator, which compiles nothing."""
    model = merged("names-w4")
    core = UnrolledCore(model, target=Target(dense=SlicedDense))
    with open_engine(core, "pysim") as engine:
        streams = [Stream(number + 1, 0.7) for number in range(core.streams)]
        expected = [golden_run(model, stream) for stream in streams]
        session = StreamSession(core, engine, model, streams)
        for token in itertools.islice(session.tokens(), 2 * core.streams):
            assert token.token == next(expected[token.stream]).token


@pytest.mark.nightly
def test_three_layers():
    """A small core whose second layer has one before and one after; a wrong token ends the run."""
    model = random_model(3)
    core = make_core(model, 2, 2, None, SIMULATED)
    with open_engine(core, "pysim") as engine:
        generation = generate_streams(core, engine, model, some_streams(model, core.streams, 1), 30)
    assert len(generation.documents) == 30
    assert generation.tokens > 60
