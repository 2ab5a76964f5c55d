"""The page's chip, without a page: its names, its display, its events."""

import pytest

from gptloom.firmware.image import build_image
from gptloom.firmware.machine import Machine
from gptloom.firmware.page import encode_scale
from gptloom.model.golden import GoldenModel
from gptloom.sim.engines import open_engine
from gptloom.sim.panels import HD44780Model, watch
from gptloom.sim.web.chip import SEEN, WebChip, written_layout

CLOCK_HZ = 12e6
LONGEST = 400_000
"""Maximum cycles until an event: the checksum comes before the first name."""


@pytest.fixture(scope="module")
def chip(model):
    machine = Machine.for_models(16, model.config)
    return WebChip(build_image(model, machine), machine, CLOCK_HZ)


@pytest.fixture(scope="module")
def engine(chip):
    with open_engine(chip) as engine:
        yield engine


@pytest.fixture
def started(engine):
    engine.reset()
    return engine


def ask(engine, model, seed, temperature, prompt):
    tokens = model.tokenizer.encode(prompt)
    for place, token in enumerate(tokens):
        engine.poke(f"prompt__{place}", token)
    engine.poke("length", len(tokens))
    engine.poke("seed", seed)
    engine.poke("temperature", encode_scale(model.logit_scale(temperature)))
    engine.poke("restart", 1 - engine.peek("restart"))
    return tokens


def events(engine):
    """Yield events, cycle by cycle."""
    while True:
        assert engine.run(LONGEST, "event") < LONGEST
        yield SEEN.from_bits(engine.peek("seen"))
        engine.step()


def documents(engine, count):
    """Return the tokens of documents from the next seed on, known ones first."""
    found, seeded = [], False
    for seen in events(engine):
        if seen.sampled and seeded:
            found[-1].append(seen.token)
            if seen.last and len(found) == count:
                return found
        seeded |= bool(seen.seeded)
        if seen.known and seeded:
            # The next document may begin in the cycle in which the last token leaves.
            if seen.sampled or seen.token == 26:
                found.append([])
            else:
                found[-1].append(seen.token)


ASKED = [(1, 0.7, ""), (7, 0.5, "mar"), (9, 0, "a"), (3, 2.0, "abcdefghijklmno")]


@pytest.mark.nightly
def test_documents_are_the_golden_models(started, model):
    for seed, temperature, prompt in ASKED:
        known = ask(started, model, seed, temperature, prompt)
        golden = GoldenModel(model).generate(seed, temperature, known)
        for found in documents(started, 5):
            expected = [*known]
            for token in golden:
                expected.append(token.token)
                if token.last:
                    break
            assert found == expected


@pytest.mark.nightly
def test_the_display_shows_whole_names_with_their_prompt(started, model):
    ask(started, model, 1, 0, "mar")
    panel = HD44780Model(1 / CLOCK_HZ)
    watch(started, [(panel, "display__")], 2_000_000)
    golden = GoldenModel(model).generate(1, 0, model.tokenizer.encode("mar"))
    name = "mar"
    for token in golden:
        if token.last:
            break
        name += model.tokenizer.decode([token.token])
    names = {shown.lines[0].strip() for shown in panel.shown if shown.lines}
    assert names == {name}


@pytest.mark.nightly
def test_cache_rows_are_told_as_the_golden_model_has_them(started, chip, model):
    """Check the first token, whose values all belong to one row."""
    ask(started, model, 1, 0.7, "")
    traces = []

    def receive(document, position):
        values = {}
        traces.append(values)
        return lambda layer, site, value: values.__setitem__((layer, site), value)

    next(iter(GoldenModel(model).generate(1, 0.7, (), receive)))
    shape = written_layout(chip.machine)
    found = {"k": {}, "v": {}}
    for seen in events(started):
        for name, is_written in (("k", seen.key), ("v", seen.value)):
            if is_written:
                written = shape.from_bits(started.peek("written"))
                found[name][written.index] = written.elements[0]
        if seen.sampled:
            break
    assert sorted(found["k"]) == sorted(found["v"]) == list(range(model.config.width))
    for name, values in found.items():
        expected = (traces[0][0, name].reshape(-1) & 0xFF).tolist()
        # They are written in a different order.
        assert sorted(values.values()) == sorted(expected)
