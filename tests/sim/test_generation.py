"""Generation on simulated hardware: equality, cycle counts, and faults that must be found."""

from copy import copy
from dataclasses import replace

import pytest

from gptloom.firmware.image import Region, build_image
from gptloom.firmware.layout import Layout
from gptloom.model.golden import GeneratedToken, GoldenModel
from gptloom.sim.generation import Generation, Generator, MismatchError, Request, compared
from gptloom.sim.session import LONGEST_STEP, CoreSession, Emitted, HangError

# One process compiles the core, also for other modules.
pytestmark = pytest.mark.xdist_group("names, 16 lanes")


def golden_documents(model, request):
    documents, document = [], [*request.prompt]
    for token in GoldenModel(model).generate(request.seed, request.temperature, request.prompt):
        if token.token != model.tokenizer.bos:
            document.append(token.token)
        if token.last:
            documents.append(document)
            document = [*request.prompt]
            if len(documents) == request.count:
                return documents
    return None


@pytest.mark.parametrize(
    ("temperature", "seed", "prompt"),
    [(0.7, 1, ""), (0.1, 2, ""), (2.0, 2**32 - 1, ""), (0, 5, ""), (1.0, 9, "mar")],
)
def test_documents_are_the_golden_models(generator, model, temperature, seed, prompt):
    request = Request(15, temperature, seed, tuple(model.tokenizer.encode(prompt)))
    emitted = []
    generation = generator.run(request, lambda seen, words: seen.last and emitted.append([*words]))
    assert generation.names == golden_documents(model, request)
    assert emitted == generation.names


def test_cycles_are_those_of_the_hardwares_own_counters(generator, model):
    generation = generator.run(Request(10, 1.0, 3))
    engine = generator.engine
    counters = engine.peek("counters")
    tokens, stalls = counters >> 32 & 0xFFFFFFFF, counters >> 64
    assert (tokens, stalls) == (generation.tokens, 0)
    # The rest of the clock cycles loaded the image and the seed, one byte per cycle.
    image = sum(1 for _ in generator.image.writes(generator.machine))
    assert engine.cycles == generation.cycles + image + 1
    assert generation.cycles_per_token == pytest.approx(generation.cycles / generation.tokens)


def test_a_token_costs_the_same_at_the_same_position_in_every_document(generator):
    positions = generator.run(Request(40, 1.0, 4)).cycles_by_position
    for position, cycles in positions.items():
        if position:
            assert len(set(cycles)) == 1
    assert positions[5][0] > positions[1][0]


def corrupted(generator, address):
    """Return a generator with one wrong weight in the image, but not in the golden model."""
    regions = dict(generator.image.regions)
    weights = bytearray(regions[Region.OPERANDS])
    weights[address] ^= 0x40
    regions[Region.OPERANDS] = bytes(weights)
    return with_image(generator, regions)


def with_image(generator, regions):
    broken = copy(generator)
    broken.image = replace(generator.image, regions=regions)
    return broken


@pytest.mark.parametrize(
    ("matrix", "site"),
    [("attn_wq", "q"), ("attn_wv", "v"), ("attn_wo", "out"), ("mlp_fc1", "hidden")],
)
def test_a_wrong_weight_is_found_and_located(generator, matrix, site):
    place = Layout(generator.machine, generator.model.config).matrices[f"layer0.{matrix}"]
    # A weight of the first unit and lane in the first pass.
    broken = corrupted(generator, place.base * generator.machine.lanes)
    with pytest.raises(MismatchError) as found:
        broken.run(Request(40, 1.0, 1))
    assert f"first divergence in layer 0, {site}, element 0, cycle" in str(found.value)
    assert "expected" in str(found.value)


def test_a_wrong_embedding_is_located(generator):
    regions = dict(generator.image.regions)
    rows = bytearray(regions[Region.POSITIONS])
    width = generator.model.config.width
    rows[2 * width + 3] ^= 0x20
    regions[Region.POSITIONS] = bytes(rows)
    broken = with_image(generator, regions)
    with pytest.raises(MismatchError, match="layer 0, embedding, element 3"):
        broken.run(Request(40, 1.0, 1))


def test_a_core_that_does_not_answer_is_said_to_hang(generator):
    engine = generator.engine
    engine.reset()
    session = CoreSession(generator.core, engine)
    session.load(generator.image)
    engine.poke("load__valid", 1)  # documents wait as long as something is being loaded
    with pytest.raises(HangError, match=f"within {LONGEST_STEP}"):
        next(session.tokens())


@pytest.mark.long
def test_pysim_generates_the_same_names_in_the_same_cycles(generator, model):
    from gptloom.sim.engines import open_engine

    request = Request(1, 0.7, 1)
    slow = Generator(
        model,
        generator.machine,
        lambda core: open_engine(core, "pysim"),
        build_image(model, generator.machine),
    )
    one, other = slow.run(request), generator.run(request)
    assert one.documents == other.documents
    assert one.cycles_by_position == other.cycles_by_position


def test_an_image_alone_is_enough_to_start(generator, model):
    """Noise drawn before an image is loaded is for another vocabulary, and must be drawn again."""
    engine = generator.engine
    engine.reset()
    session = CoreSession(generator.core, engine)
    session.seed(99)
    session.load(generator.image)
    session.temperature(model.logit_scale(1.0))
    expected = GoldenModel(model).generate(1, 1.0)
    for seen, right, _ in zip(session.tokens(), expected, range(40), strict=False):
        assert (seen.token, seen.last) == (right.token, right.last)


# Tokens of two streams: token, position, last, cycle, cycles, stream.
SEEN = [
    Emitted(3, 0, False, 9, 10, 0),
    Emitted(1, 0, False, 11, 8, 1),
    Emitted(26, 1, True, 19, 10, 0),
    Emitted(26, 1, True, 21, 10, 1),
    Emitted(5, 0, False, 29, 10, 0),
]


def golden_of(stream):
    return iter([GeneratedToken(t.token, t.position, t.last) for t in SEEN if t.stream == stream])


def test_streams_are_gathered_and_counted(model):
    generation, told = Generation(-1), []
    hardware = compared(iter(SEEN), golden_of(0), golden_of(1))
    generation.collect(hardware, model, [[7], []], 2, lambda seen, d: told.append((seen, [*d])))
    assert generation.documents == [(0, [7, 3]), (1, [1])]
    assert told == list(zip(SEEN[:4], [[7, 3], [1], [7, 3], [1]], strict=True))
    assert [document for seen, document in told if seen.last] == generation.names
    assert (generation.tokens, generation.tokens_of) == (4, {0: 2, 1: 2})
    assert (generation.cycles, generation.cycles_per_token) == (22, 38 / 4)
    assert generation.cycles_per_token_of_all == 22 / 4
    # Both streams have had a token by cycle 11; two follow in the 10 cycles until 21.
    assert generation.steady_cycles_per_token == 10 / 2
    assert generation.cycles_by_position == {0: [10, 8], 1: [10, 10]}
    assert generation.cycles_per_prompt_token is None


@pytest.mark.parametrize(
    ("most", "documents"), [(1, [(0, [3])]), (3, [(0, [3])]), (5, [(0, [3]), (1, [1]), (0, [5])])]
)
def test_a_limit_of_tokens_cuts_the_last_document(model, most, documents):
    generation = Generation(-1)
    generation.collect(iter(SEEN), model, [[], []], 9, most=most)
    assert generation.tokens == most
    assert generation.documents == documents


def test_reading_a_prompt_is_not_part_of_a_position(model):
    seen = [Emitted(3, 4, False, 50, 51, prompt=40), Emitted(26, 5, True, 62, 12)] * 2
    generation = Generation(-1)
    generation.collect(iter(seen), model, [[1, 2, 1, 2]], 2)
    assert generation.cycles_by_position == {4: [11, 11], 5: [12, 12]}
    assert generation.cycles_per_prompt_token == 10


@pytest.mark.parametrize("wrong", [{"token": 4}, {"position": 5}, {"last": True}])
def test_a_stream_is_compared_with_its_own_golden_model(wrong):
    seen = [SEEN[0], replace(SEEN[1], **wrong), *SEEN[2:]]
    hardware = compared(iter(seen), golden_of(0), golden_of(1))
    assert next(hardware) == SEEN[0]
    with pytest.raises(MismatchError, match=r"in stream 1 after position \d, in cycle 11"):
        next(hardware)
