"""Keys and values that are kept from document to document, against computing them anew."""

import random
from dataclasses import replace

import pytest

from gptloom.firmware.image import build_image
from gptloom.firmware.machine import Machine
from gptloom.hdl.folded.core import FoldedCore
from gptloom.model.config import ModelConfig
from gptloom.model.golden import GoldenModel
from gptloom.sim.engines import open_engine
from gptloom.sim.prefix_reuse import measure_reuse
from gptloom.sim.session import CoreSession

SMALL = ModelConfig(width=8, heads=2, hidden=8, context=12, vocabulary=5)


@pytest.fixture(scope="module")
def simulated():
    configs = [SMALL, replace(SMALL, layers=2)]
    core = FoldedCore(Machine.for_models(16, *configs))
    with open_engine(core) as engine:
        yield configs, core, engine


@pytest.fixture(scope="module")
def with_alibi():
    config = replace(SMALL, positions="alibi")
    core = FoldedCore(Machine.for_models(16, config))
    with open_engine(core) as engine:
        yield [config], core, engine


def greedy(model, known):
    """What the golden model says after some tokens, from an empty cache."""
    golden, found = GoldenModel(model).generate(1, 0, known[1:]), []
    for token in golden:
        found.append(token.token)
        if token.last:
            return found


def read(session):
    """Read what the core says up to a document's end."""
    found = []
    while True:
        token = session._receive()
        found.append(token.token)
        session._step()
        if token.last:
            return found


@pytest.mark.parametrize(
    ("fixture", "layers"), [("simulated", 0), ("simulated", 1), ("with_alibi", 0)]
)
def test_documents_that_share_beginnings_are_as_if_computed_anew(
    request, random_model, seed, fixture, layers
):
    """Forks of a document, other tails, other documents: whatever the one before had."""
    configs, core, engine = request.getfixturevalue(fixture)
    config, draw = configs[layers], random.Random(seed)
    bos = config.vocabulary - 1
    model = random_model(config, 2 + layers)
    engine.reset()
    session = CoreSession(core, engine, bos, reuse=True)
    session.load(build_image(model, core.machine))
    session.temperature(model.logit_scale(0))
    known, kept = [bos], 0
    for _ in range(60):
        # A part of the document before, or of what it was begun with, and another tail.
        known = [*session._cached, bos][: draw.randrange(1, config.context - 2)]
        known = [bos, *known[1:]]
        known += [draw.randrange(bos) for _ in range(draw.randrange(3))]
        before = session.reused
        session.ask(known)
        kept = max(kept, session.reused - before)
        assert read(session) == greedy(model, known)
    assert kept > 5
    assert session.reused > 60


def test_another_model_keeps_nothing(simulated, random_model):
    configs, core, engine = simulated
    engine.reset()
    session = CoreSession(core, engine, reuse=True)
    known = [SMALL.vocabulary - 1, 1, 2, 3]
    for number in (1, 2):
        model = random_model(configs[0], number)
        session.load(build_image(model, core.machine))
        session.temperature(model.logit_scale(0))
        for times in range(2):
            before = session.reused
            session.ask(known)
            assert session.reused - before == 3 * times
            assert read(session) == greedy(model, known)


def test_savings_grow_with_the_prefix(random_model):
    model = random_model(SMALL, 3)
    rows = list(measure_reuse(model, Machine.for_models(16, SMALL), open_engine))
    assert [row.known for row in rows] == list(range(1, 13))
    saved = [row.computed - row.reused for row in rows]
    assert saved[0] == 0
    # Every known token but the last is saved, at the same cost each.
    assert saved == [saved[1] * n for n in range(12)]
    assert saved[1] > 40
