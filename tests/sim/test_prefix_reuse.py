"""Keys and values kept from document to document, against computing them again."""

import random
from dataclasses import replace

import pytest

from gptloom.firmware.image import build_image
from gptloom.firmware.machine import Machine
from gptloom.hdl.folded.core import FoldedCore
from gptloom.model.config import ModelConfig
from gptloom.model.golden import GoldenModel
from gptloom.sim.engines import open_engine
from gptloom.sim.session import CoreSession
from verification.prefix import PrefixStore

SMALL = ModelConfig(width=8, heads=2, hidden=8, context=12, vocabulary=5)
TWO_LAYERS = replace(SMALL, layers=2)
ALIBI = replace(SMALL, positions="alibi")


def greedy(model, known):
    """Return the golden model's tokens after some known ones, from an empty cache."""
    golden, found = GoldenModel(model).generate(1, 0, known[1:]), []
    for token in golden:
        found.append(token.token)
        if token.last:
            return found


def read(session):
    """Read the core's tokens up to a document's end."""
    found = []
    while True:
        token = session._receive()
        found.append(token.token)
        session.engine.step()
        if token.last:
            return found


def known_tokens(draw, prompts, bos):
    """Return parts of prompts in a row, after the begin token."""
    one, other = draw.sample(prompts, 2)
    cut = draw.randrange(12)
    tail = [draw.randrange(bos) for _ in range(draw.randrange(2))]
    return [bos, *one[:cut], *other[cut:], *tail][:10]


@pytest.mark.parametrize(
    ("configs", "lanes", "slots"),
    [
        pytest.param([SMALL], 16, 4, marks=pytest.mark.long),
        pytest.param([SMALL, TWO_LAYERS], 16, 2, marks=pytest.mark.nightly),
        pytest.param([ALIBI], 64, 1, marks=pytest.mark.nightly),
    ],
    ids=["joins", "two models", "alibi, wide"],
)
def test_documents_that_share_beginnings_are_as_if_computed_anew(
    random_model, seed, configs, lanes, slots
):
    """Forks, other continuations, joined prefixes of two slots; and another model forgets all."""
    machine = Machine.for_models(lanes, *configs, slots=slots)
    core = FoldedCore(machine)
    draw, joined = random.Random(seed), 0
    with open_engine(core) as engine:
        session = CoreSession(core, engine)
        for config in configs * 2:
            bos = config.vocabulary - 1
            model = random_model(config, draw.randrange(100))
            session.load(build_image(model, machine))
            session.temperature(model.logit_scale(0))
            store = PrefixStore(slots, config.context, machine.granule, machine.joins)
            prompts = [[draw.randrange(bos) for _ in range(draw.randrange(12))] for _ in range(3)]
            for _ in range(40):
                known = known_tokens(draw, prompts, bos)
                placed = store.place(known)
                before = session.cache()
                session.ask(known)
                said = read(session)
                assert said == greedy(model, known)
                rows = [*known[placed.keep :], *said][: config.context - placed.keep]
                # The token that ends a document has no row.
                for token in rows if len(known) + len(said) > config.context else rows[:-1]:
                    store.computed(token)
                after = session.cache()
                assert after["reused"] - before["reused"] == placed.keep
                assert after["hits"] - before["hits"] == (placed.keep > 0)
                joined += placed.joint > 0
    assert (joined > 0) == (machine.joins and slots > 1)


@pytest.mark.nightly
def test_counters_are_what_the_golden_cache_does(random_model):
    """Every token writes a row and attends to all rows, if its logits are needed."""
    machine = Machine.for_models(16, SMALL)
    core, model = FoldedCore(machine), random_model(SMALL, 5)
    writes = reads = 0
    with open_engine(core) as engine:
        session = CoreSession(core, engine)
        session.load(build_image(model, machine))
        session.temperature(model.logit_scale(0))
        for known in ([4], [4, 1, 2], [4, 3, 3, 3, 3, 1]):
            session.ask(known)
            rows = min(len(known) + len(read(session)) - 1, SMALL.context)
            writes += rows
            reads += sum(range(len(known), rows + 1))
            assert session.cache() == {
                "occupancy": rows, "writes": writes, "reads": reads, "evictions": 0, "hits": 0,
                "reused": 0,
            }  # fmt: skip
