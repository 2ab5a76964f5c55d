"""Cores whose caches evict, in any use, value by value against the golden model."""

import itertools
import random
from dataclasses import replace

import numpy as np
import pytest

from gptloom.firmware.image import Region, build_image
from gptloom.firmware.layout import Layout
from gptloom.firmware.machine import Machine
from gptloom.firmware.program import compile_program
from gptloom.firmware.timeline import timeline
from gptloom.hdl.core import Prompt
from gptloom.hdl.folded.core import FoldedCore
from gptloom.hdl.preload import Preload
from gptloom.model import sampling
from gptloom.model.config import ModelConfig
from gptloom.model.recurrent import golden_of
from gptloom.sim.divergence import first_divergence, written_values
from gptloom.sim.engines import open_engine
from gptloom.sim.session import CoreSession, encode

SMALL = ModelConfig(width=8, heads=2, hidden=8, context=8, vocabulary=7, positions="alibi")

POLICIES = [
    pytest.param({}, marks=pytest.mark.nightly),
    pytest.param({"eviction": "window"}, marks=pytest.mark.nightly),
    pytest.param({"eviction": "window", "sinks": 3}, marks=pytest.mark.long),
    pytest.param({"eviction": "attention"}, marks=pytest.mark.nightly),
    pytest.param({"eviction": "recurrent"}, marks=pytest.mark.long),
]


@pytest.fixture(scope="module", params=POLICIES, ids=str)
def simulated(request):
    """Return configurations of different shapes, and a core for all of them."""
    config = replace(SMALL, **request.param)
    if config.recurrent:
        configs = [config, replace(config, hidden=12), replace(config, vocabulary=11)]
    else:
        configs = [config, replace(config, layers=2), replace(config, context=4)]
    core = FoldedCore(Machine.for_models(16, *configs))
    with open_engine(core) as engine:
        yield configs, core, engine


class Player:
    """Player of a core with a model, from a reset on."""

    def __init__(self, core, engine, model, seed):
        self.core, self.engine, self.model = core, engine, model
        self.draw = random.Random(seed)
        engine.reset()
        self.session = CoreSession(core, engine)
        self.session.load(build_image(model, core.machine))
        self.session.temperature(model.logit_scale(1.0))

    def play(self, prompt, seed, tokens, ask=True):
        """Compare some tokens of a document or stream, and all intermediate values."""
        traces = []

        def receive(_, __):
            values = {}
            traces.append(values)
            return lambda layer, site, value: values.__setitem__((layer, site), value)

        golden = golden_of(self.model).generate(seed, 1.0, prompt, receive)
        if ask:
            self.session.seed(seed)
        self.session.watch()
        first = self.engine.cycles
        for seen, right in zip(self.session.tokens(prompt), golden, strict=False):
            assert (seen.token, seen.position, seen.last) == (
                right.token,
                right.position,
                right.last,
            )
            self.stall()
            tokens -= 1
            if tokens <= 0 and seen.last:
                break
        layout = Layout(self.core.machine, self.model.config)
        written = written_values(
            self.core, compile_program(self.model, layout), layout, self.session.watched(), first
        )
        assert first_divergence(written, traces) is None
        self.engine.stop_recording()
        return len(traces)

    def stall(self):
        """Sometimes leave a token waiting."""
        if self.draw.random() < 0.2:
            self.engine.poke("o__ready", 0)
            for _ in range(self.draw.randrange(400)):
                self.engine.step()
            self.engine.poke("o__ready", 1)


@pytest.mark.parametrize("which", [0, 1, 2])
def test_every_value_is_golden_for_ever(simulated, random_model, seed, which):
    configs, core, engine = simulated
    config = configs[which]
    bos = config.vocabulary - 1
    draw = random.Random(seed)
    for number in range(2):
        # A reset, then another model and another use.
        player = Player(core, engine, random_model(config, 1 + number), seed)
        longest = 20 if config.endless else config.context - 1
        prompt = [draw.randrange(bos) for _ in range(draw.randrange(longest))]
        computed = player.play(prompt, 3 + number, 25)
        assert computed >= 25


@pytest.mark.nightly
@pytest.mark.parametrize(
    "simulated", [policy.values[0] for policy in POLICIES[1:]], indirect=True, ids=str
)
def test_a_prompt_ends_a_stream_where_a_document_ends(simulated, random_model):
    configs, core, engine = simulated
    config = configs[0]
    model = random_model(config, 1)
    player, bos = Player(core, engine, model, 1), config.vocabulary - 1
    session, golden = player.session, golden_of(model)
    session.seed(9)
    stream = zip(session.tokens(), golden.generate(9, 1.0), strict=False)
    for seen, right in itertools.islice(stream, 11):
        assert seen.token == right.token
    # Offered while the stream goes on, it is taken after the next end, and sees no earlier rows.
    engine.poke("i__payload", encode(Prompt, token=bos, last=1))
    engine.poke("i__valid", 1)
    assert not engine.peek("i__ready")
    drawn = 11
    for seen, right in stream:
        assert (seen.token, seen.last) == (right.token, right.last)
        drawn += 1
        if seen.last:
            break
    engine.run(1000, "i__ready")
    engine.step()
    engine.poke("i__valid", 0)
    seen, noise = session._receive(), sampling.noise(9)
    for _ in range(drawn * config.vocabulary):
        next(noise)
    accumulators = golden.step(np.array([bos]), 0, golden.new_cache())
    logits = golden.scaled_logits(accumulators[0], model.logit_scale(1.0))
    values = np.array([next(noise) for _ in range(config.vocabulary)])
    assert (seen.token, seen.position) == (sampling.draw(logits, values), 0)


@pytest.mark.nightly
@pytest.mark.parametrize("lanes", [8, 16])
def test_recurrent_sums_are_there_from_power_on_and_are_read_back(random_model, lanes):
    config = replace(SMALL, eviction="recurrent")
    model, machine = random_model(config, 5), Machine.for_models(lanes, config)
    image = build_image(model, machine)
    schedule = compile_program(model, Layout(machine, config))
    core = FoldedCore(machine, preload=Preload.of(image, machine))
    with open_engine(core) as engine:
        session = CoreSession(core, engine, bos=config.vocabulary - 1)
        session.temperature(model.logit_scale(1.0))
        found = list(itertools.islice(session.tokens([1, 2]), 12))
        golden = itertools.islice(golden_of(model).generate(1, 1.0, [1, 2]), 12)
        assert [seen.token for seen in found] == [right.token for right in golden]
        # Every token takes the predicted cycles, whatever its place.
        cycles = {seen.cycles for seen in found[1:]}
        assert cycles == {timeline(schedule, machine, 0)[-1].start}
        engine.reset()
        for address in range(0, len(image.regions[Region.POSITIONS]), 7):
            byte = image.regions[Region.POSITIONS][address]
            assert session.read(Region.POSITIONS, address) == byte
