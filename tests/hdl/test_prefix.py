"""Placement of documents in slots, against the golden placement."""

import random
from dataclasses import replace

import pytest

from gptloom.firmware.machine import Machine
from gptloom.hdl.core import TOKEN_BITS
from gptloom.hdl.folded.layouts import places
from gptloom.hdl.folded.prefix import Prefix
from gptloom.model.config import ModelConfig
from gptloom.sim.engines import open_engine
from verification.prefix import Placement, PrefixStore

MASK = (1 << TOKEN_BITS) - 1
SMALL = ModelConfig(width=8, heads=2, hidden=8, context=16, vocabulary=4)


class Driver:
    """Offers known tokens, and computes the tokens put out, as a core would."""

    def __init__(self, engine, machine, seed):
        self.engine, self.machine, self.draw = engine, machine, random.Random(seed)
        engine.poke("final", machine.context - 1)

    def document(self, known, sampled):
        """Return the placement, and the tokens to compute."""
        engine, machine, draw = self.engine, self.machine, self.draw
        given, fed, keep, offered = list(known), [], None, False
        while not fed or not fed[-1][1]:
            # An offered item holds until it is taken.
            offered = bool(given) and (offered or draw.random() < 0.8)
            ready = draw.random() < 0.6
            engine.poke("i__valid", int(offered))
            if offered:
                engine.poke("i__payload", given[0] | (len(given) == 1) << TOKEN_BITS)
            # A hold waits as long as a document is in progress.
            engine.poke("hold", int(draw.random() < 0.3))
            engine.poke("o__ready", int(ready))
            taken = engine.peek("i__ready") and offered
            out = engine.peek("o__valid") and ready
            payload = engine.peek("o__payload")
            engine.step()
            if taken:
                given.pop(0)
                offered = False
            if out:
                keep = engine.peek("keep") if keep is None else keep
                engine.poke("busy", 1)
                position = keep + len(fed)
                fed.append((payload & MASK, payload >> TOKEN_BITS))
                if position < machine.context:
                    self.compute(position, payload & MASK)
        engine.poke("i__valid", 0)
        where = places(machine).from_bits(engine.peek("places"))
        for place, token in enumerate(sampled, keep + len(fed)):
            if place < machine.context:
                self.compute(place, token)
        engine.poke("busy", 0)
        engine.step(2)
        # Without joints all rows are in the tail.
        head = where.head if machine.joins else where.tail
        placed = Placement(head, where.tail, where.joint * machine.granule, keep)
        return placed, [token for token, _ in fed]

    def compute(self, position, token):
        self.engine.poke("o__ready", 0)
        self.engine.poke("position", position)
        self.engine.poke("token", token)
        self.engine.poke("start", 1)
        self.engine.step()
        self.engine.poke("start", 0)


# Each is compiled. With joints and without, for everyday; a slot alone has no choice of slots.
@pytest.mark.parametrize(
    ("slots", "lanes", "layers"),
    [
        pytest.param(2, 16, 2, marks=pytest.mark.long),
        (4, 16, 1),
        pytest.param(1, 16, 1, marks=pytest.mark.long),
        pytest.param(2, 64, 1, marks=pytest.mark.nightly),
        pytest.param(4, 64, 2, marks=pytest.mark.nightly),
    ],
)
def test_documents_are_placed_as_the_golden_store_does(slots, lanes, layers, seed):
    config = replace(SMALL, layers=layers)
    machine = Machine.for_models(lanes, config, slots=slots)
    draw, seen = random.Random(seed), set()
    with open_engine(Prefix(machine)) as engine:
        driver = Driver(engine, machine, seed)
        for _ in range(3):
            store = PrefixStore(slots, machine.context, machine.granule, machine.joins)
            prompts = [[draw.randrange(3) for _ in range(draw.randrange(18))] for _ in range(3)]
            for _ in range(100):
                # Parts of earlier prompts in a row, after the begin token.
                parts = [p[: draw.randrange(18)] for p in draw.sample(prompts, 2)]
                cut = draw.randrange(12)
                tail = [draw.randrange(3) for _ in range(draw.randrange(3))]
                known = [3, *parts[0][:cut], *parts[1][cut:], *tail][:18]
                placed = store.place(known)
                sampled = [draw.randrange(3) for _ in range(draw.randrange(6))]
                found = driver.document(known, sampled)
                assert found == (placed, known[placed.keep :])
                for token in [*known[placed.keep :], *sampled][: machine.context - placed.keep]:
                    store.computed(token)
                seen.add((placed.keep > 0, placed.joint > 0))
                assert placed.joint == 0 or layers == 1
            # Another model: nothing is left.
            engine.poke("clear", 1)
            engine.step()
            engine.poke("clear", 0)
    expected = {(False, False), (True, False)} | (
        {(True, True)} if machine.joins and slots > 1 else set()
    )
    assert expected <= seen
