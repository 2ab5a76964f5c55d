"""The whole core against the golden model: token by token, and value by value."""

import random
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import pytest
from amaranth.lib import data

from gptloom.firmware.image import CHECKED, Region, build_image
from gptloom.firmware.layout import Layout
from gptloom.firmware.machine import QUAD, Machine
from gptloom.firmware.program import compile_program
from gptloom.hdl.core import TOKEN_BITS, Token
from gptloom.hdl.folded.core import FoldedCore
from gptloom.hdl.folded.readback import Readback
from gptloom.model.checkpoint import load_checkpoint, shipped_checkpoints
from gptloom.model.config import ModelConfig
from gptloom.model.golden import GoldenModel
from gptloom.model.quantise import quantise
from gptloom.sim.divergence import first_divergence, written_values
from gptloom.sim.engines import open_engine
from gptloom.sim.session import CoreSession

TWO_HEADS = ModelConfig(width=16, heads=2, hidden=32, context=8, vocabulary=11)
ONE_HEAD = ModelConfig(width=12, heads=1, hidden=20, context=12, vocabulary=6)

# One process compiles the core of most, also for other modules.
pytestmark = pytest.mark.xdist_group("names, 16 lanes")

# Models that share hardware. A compiled simulation takes half a minute or more, so these are
# machines that other tests build as well.
NAMES = (ModelConfig.MICROGPT,)
WIDE = (ModelConfig.MICROGPT, ModelConfig.GATEGPT)
DEEP = (ModelConfig.MICROGPT, ModelConfig.TWO_LAYER)


@pytest.fixture(scope="module")
def shipped():
    """Return every shipped model by name, in integers."""
    return {name: quantise(load_checkpoint(name)) for name in shipped_checkpoints()}


@dataclass
class Hardware:
    """A core under simulation, at power-on with every session."""

    machine: Machine
    kind: str = "auto"

    def __post_init__(self):
        self.core = FoldedCore(self.machine)
        self.engine = open_engine(self.core, self.kind)

    def session(self, model, seed, temperature):
        self.engine.reset()
        session = CoreSession(self.core, self.engine)
        self.load(session, model, seed, temperature)
        return session

    def load(self, session, model, seed, temperature):
        session.load(build_image(model, self.machine))
        session.temperature(model.logit_scale(temperature))
        session.seed(seed)


@pytest.fixture(scope="module")
def hardware():
    """Return cores by lanes and the models they hold; each is built once."""
    built = {}

    def get(lanes, *configs):
        machine = Machine.for_models(lanes, *configs)
        if machine not in built:
            built[machine] = Hardware(machine)
        return built[machine]

    yield get
    for one in built.values():
        one.engine.close()


def plain(tokens):
    return [(token.token, token.position, token.last) for token in tokens]


def documents(tokens, count):
    """Return the tokens of a number of documents."""
    found = []
    for token in tokens:
        found.append(token)
        if token.last and (count := count - 1) == 0:
            return plain(found)
    raise AssertionError("the tokens end")


def check(session, model, count, seed, temperature, prompt=()):
    expected = documents(GoldenModel(model).generate(seed, temperature, prompt), count)
    seen = plain(islice(session.tokens(prompt), len(expected)))
    assert seen == expected


def test_every_shipped_checkpoint_is_here():
    assert set(shipped_checkpoints()) == {"names", "names-24", "names-2l"}


@pytest.mark.parametrize(
    ("name", "lanes", "configs", "count"),
    [
        pytest.param("names", 8, NAMES, 30, marks=pytest.mark.nightly),
        ("names", 16, NAMES, 80),
        pytest.param("names", 32, NAMES, 30, marks=pytest.mark.nightly),
        pytest.param("names", 64, DEEP, 30, marks=pytest.mark.long),
        pytest.param("names-24", 16, WIDE, 30, marks=pytest.mark.nightly),
        pytest.param("names-2l", 64, DEEP, 30, marks=pytest.mark.long),
    ],
)
def test_names_are_the_golden_models(hardware, shipped, name, lanes, configs, count):
    model = shipped[name]
    session = hardware(lanes, *configs).session(model, seed=lanes, temperature=1.0)
    check(session, model, count, lanes, 1.0)


@pytest.mark.parametrize(
    ("name", "lanes", "configs"),
    [
        ("names", 16, NAMES),
        pytest.param("names-24", 16, WIDE, marks=pytest.mark.nightly),
        pytest.param("names-2l", 64, DEEP, marks=pytest.mark.long),
    ],
)
@pytest.mark.parametrize("temperature", [0, 0.1, 0.35, 2.0])
def test_greedy_and_the_range_of_temperatures(hardware, shipped, name, lanes, configs, temperature):
    session = hardware(lanes, *configs).session(shipped[name], 3, temperature)
    check(session, shipped[name], 4, 3, temperature)


@pytest.mark.long
@pytest.mark.xdist_group("64 lanes")
@pytest.mark.parametrize("length", [1, 2, 3, 7, 14, 15])
def test_prompts(hardware, shipped, length):
    model = shipped["names-2l"]
    prompt = model.tokenizer.encode("maximilianannab"[:length])
    session = hardware(64, *DEEP).session(model, 8, 1.0)
    check(session, model, 4, 8, 1.0, prompt)


def test_documents_with_and_without_a_prompt_in_turn(hardware, shipped):
    # A long document first: its keys, values and scores must not affect the short ones.
    model = shipped["names"]
    session = hardware(16, *NAMES).session(model, 6, 0.5)
    golden = GoldenModel(model)
    for seed, text in enumerate(("annamarialuisah", "", "jo", "", "elisabethannama", "z"), 1):
        prompt = model.tokenizer.encode(text)
        session.seed(seed)
        assert documents(session.tokens(prompt), 1) == documents(
            golden.generate(seed, 0.5, prompt), 1
        )


@pytest.mark.parametrize(
    ("other", "lanes", "configs"),
    [
        pytest.param("names-24", 16, WIDE, marks=pytest.mark.nightly),
        pytest.param("names-2l", 64, DEEP, marks=pytest.mark.long),
    ],
)
def test_another_checkpoint_in_the_same_hardware_and_the_first_one_again(
    hardware, shipped, other, lanes, configs
):
    core = hardware(lanes, *configs)
    session = core.session(shipped["names"], 1, 1.0)
    for name in ("names", other, "names"):
        core.load(session, shipped[name], 4, 0.8)
        check(session, shipped[name], 5, 4, 0.8)


def test_a_seed_of_zero_is_taken_as_one(hardware, shipped):
    model = shipped["names"]
    session = hardware(16, *NAMES).session(model, 0, 1.0)
    check(session, model, 3, 1, 1.0)


@pytest.mark.parametrize("free", [0.5, 0.02, 0.002])
def test_back_pressure_changes_nothing_but_the_time(hardware, shipped, free):
    model = shipped["names"]
    core = hardware(16, *NAMES)
    core.session(model, 11, 1.0)
    engine, draw = core.engine, random.Random(3)
    expected = documents(GoldenModel(model).generate(11, 1.0), 3)
    engine.poke("i__payload", model.tokenizer.bos | 1 << TOKEN_BITS)
    engine.poke("i__valid", 1)
    seen = []
    while len(seen) < len(expected):
        engine.poke("o__ready", ready := draw.random() < free)
        if ready and engine.peek("o__valid"):
            bits = engine.peek("o__payload")
            item = data.Layout.cast(Token).from_bits(bits)
            seen.append((item.token, item.position, bool(item.last)))
        engine.step()
    engine.poke("i__valid", 0)
    assert seen == expected
    assert (engine.peek("counters") >> 64 > 0) == (free < 0.01)


def values(core, model, seed, temperature, count=1, prompt=(), image=None):
    """Return values written by hardware and golden model for the first documents.

    Those of the model are by token.
    """
    traces = []

    def receive(document, position):
        traces.append({})
        return lambda layer, site, value: traces[-1].__setitem__((layer, site), value)

    session = core.session(model, seed, temperature)
    if image:
        session.load(image)
        session.seed(seed)
    session.watch()
    first = core.engine.cycles
    expected = documents(GoldenModel(model).generate(seed, temperature, prompt, receive), count)
    seen = plain(islice(session.tokens(prompt), len(expected)))
    layout = Layout(core.machine, model.config)
    schedule = compile_program(model, layout)
    written = list(written_values(core.core, schedule, layout, session.watched(), first))
    return traces, written, seen == expected


def check_values(core, model, seed, temperature, count, prompt=()):
    traces, written, equal = values(core, model, seed, temperature, count, prompt)
    assert first_divergence(written, traces) is None
    assert equal
    # Nothing was left out: every site of every token has all of its elements.
    tokens = []
    for item in written:
        if (item.site.name, item.element) == ("embedding", 0):
            tokens.append({})
        elements = tokens[-1].setdefault(item.site.key, [])
        elements.append(item.element)
    assert len(tokens) == len(traces)
    last_layer = model.config.layers - 1
    for seen, trace in zip(tokens, traces, strict=True):
        prefill = (0, "logits") not in trace
        for (layer, site), value in trace.items():
            size = value.size
            if site == "numerator":
                size += -(size // model.config.heads) % QUAD * model.config.heads
            # The prompt's tokens compute keys and values, and nothing after them.
            if prefill and layer == last_layer and site not in ("embedding", "q", "k", "v"):
                continue
            assert sorted(seen[layer, site]) == list(range(size)), (layer, site)


RANDOM = [
    (16, NAMES, ModelConfig.MICROGPT),
    (64, DEEP, ModelConfig.MICROGPT),
    (64, DEEP, ModelConfig.TWO_LAYER),
    (16, WIDE, ModelConfig.MICROGPT),
    (16, WIDE, ModelConfig.GATEGPT),
    (8, NAMES, ModelConfig.MICROGPT),
    (32, NAMES, replace(ModelConfig.MICROGPT, context=8, hidden=36, vocabulary=9)),
    (16, (TWO_HEADS,), TWO_HEADS),
    (16, (ONE_HEAD,), ONE_HEAD),
]


# Machines that no other everyday test compiles.
RARE = [pytest.param(*case, marks=pytest.mark.nightly) for case in RANDOM[1:]]


@pytest.mark.parametrize("finer", [0, 2])
@pytest.mark.parametrize(("lanes", "configs", "config"), [RANDOM[0], *RARE])
def test_random_models_value_by_value(hardware, random_model, lanes, configs, config, finer):
    core, model = hardware(lanes, *configs), random_model(config, lanes + finer, finer)
    check_values(core, model, 5, 1.0, count=1)
    longest = [i % (config.vocabulary - 1) for i in range(config.context - 1)]
    check_values(core, model, 5, 2.0, count=1, prompt=longest)


def test_random_models_reach_the_ends_of_their_ranges(random_model):
    extremes = {}
    model = random_model(ModelConfig.MICROGPT, 16)
    tokens = np.arange(16)[None] % 26
    GoldenModel(model).logits(
        tokens, lambda layer, site, value: extremes.__setitem__(site, (value.min(), value.max()))
    )
    for site in ("score", "out", "mlp"):
        assert extremes[site] == (-512, 511), site
    for site in ("k", "v"):
        assert extremes[site] == (-128, 127), site


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(6))
def test_random_models_generate_the_golden_models_tokens(hardware, random_model, seed):
    lanes, configs, config = RANDOM[-1 - seed % 2]
    model = random_model(config, seed, seed % 3)
    session = hardware(lanes, *configs).session(model, seed + 1, 1.0)
    check(session, model, 10, seed + 1, 1.0)


@pytest.mark.long
@pytest.mark.xdist_group("64 lanes")
@pytest.mark.parametrize(
    ("layer", "matrix", "site"),
    [
        (1, "layer1.attn_wq", "q"),
        (0, "layer0.attn_wk", "k"),
        (1, "layer1.attn_wo", "out"),
        (1, "layer1.mlp_fc2", "mlp"),
        (0, "lm_head", "logits"),
    ],
)
def test_a_wrong_weight_is_found_where_it_is(hardware, random_model, layer, matrix, site):
    core, model = hardware(64, *DEEP), random_model(ModelConfig.TWO_LAYER, 2)
    image = build_image(model, core.machine)
    weights = bytearray(image.regions[Region.OPERANDS])
    # The first weight of unit 1: it belongs to the second output in drain order.
    layout = Layout(core.machine, model.config)
    weights[layout.matrices[matrix].base * core.machine.lanes + QUAD] ^= 0x80
    image = replace(image, regions=image.regions | {Region.OPERANDS: bytes(weights)})
    traces, written, _ = values(core, model, 1, 1.0, image=image)
    found = first_divergence(written, traces)
    assert (found.written.site.key, found.written.element) == ((layer, site), 1)
    assert str(found) == (
        f"layer {layer}, {site}, element 1, cycle {found.written.cycle}: "
        f"expected {found.expected}, seen {found.written.value}"
    )


@pytest.mark.nightly
def test_amaranths_simulator_agrees_cycle_by_cycle(hardware, random_model):
    compiled = hardware(16, TWO_HEADS)
    model = random_model(TWO_HEADS, 9, 1)
    taps = []
    for core in (compiled, Hardware(compiled.machine, "pysim")):
        session = core.session(model, 2, 1.0)
        session.watch()
        taps.append((documents(session.tokens([3]), 1), session.watched()))
    assert taps[0] == taps[1]


@pytest.mark.long
@pytest.mark.xdist_group("read back")
def test_every_byte_is_read_back_between_documents(shipped, hardware):
    one = hardware(16, *WIDE)
    session = one.session(shipped["names"], seed=1, temperature=0.7)
    image = build_image(shipped["names"], one.machine)
    expected = documents(session.tokens(), 3)
    one.session(shipped["names"], seed=1, temperature=0.7)
    random_places = random.Random(5)
    found = []
    for token in session.tokens():
        found.append(token)
        if not token.last:
            continue
        for region, contents in image.contents(one.machine).items():
            if region in CHECKED:
                for address in random_places.sample(range(len(contents)), 40):
                    assert session.read(region, address) == contents[address], (region, address)
        if sum(token.last for token in found) == 3:
            break
    # Reading does not affect the generated tokens.
    assert plain(found) == expected


@pytest.mark.long
@pytest.mark.xdist_group("read back")
def test_a_read_waits_for_the_documents_end(shipped, hardware):
    one = hardware(16, *WIDE)
    session = one.session(shipped["names"], seed=1, temperature=0.7)
    tokens = session.tokens()
    next(tokens)
    one.engine.poke("read__valid", 1)
    while one.engine.peek("busy"):
        assert not one.engine.peek("read__ready")
        one.engine.step()
    one.engine.run(Readback.latency)
    assert one.engine.peek("read__ready")
