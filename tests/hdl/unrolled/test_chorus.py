"""An unrolled core in its top: the first stream's names, and the speed of all."""

import itertools
import re
from dataclasses import replace

import pytest
from amaranth.lib import data
from small_core import make_core, random_model

from gptloom.boards.table import find_board
from gptloom.boards.unrolled import make_top
from gptloom.firmware.page import TEMPERATURES
from gptloom.hdl.core import Counters, Prompt, Token
from gptloom.hdl.top import SHOWN
from gptloom.hdl.unrolled.chorus import THOUSAND, Chorus
from gptloom.hdl.unrolled.core import UnrolledCore
from gptloom.hdl.unrolled.target import SIMULATED
from gptloom.model.cache import Eviction
from gptloom.model.merged.golden import GoldenModel
from gptloom.model.tokenizers.characters import Characters
from gptloom.sim.engines import open_engine
from gptloom.sim.panels import HD44780Model, watch
from gptloom.sim.session import encode
from gptloom.sim.shown_chip import PREFIX

CLOCK, BAUD = 40_000, 4_000
PERIOD = CLOCK // BAUD


@pytest.fixture(scope="module")
def chip(merged):
    """Return a top without a display, its simulation, and the model."""
    model = merged("names")
    board = find_board("ulx3s-85f")
    top = make_top(board, model, UnrolledCore(model), CLOCK, BAUD, "none")
    with open_engine(top) as engine:
        yield model, top, engine


def received(levels):
    """Return the text lines on a serial line."""
    at, text = 0, bytearray()
    while (at := next((i for i in range(at, len(levels)) if not levels[i]), None)) is not None:
        middles = [at + PERIOD * bit + PERIOD // 2 for bit in range(10)]
        if middles[-1] >= len(levels):
            break
        start, *bits, stop = (levels[middle] for middle in middles)
        assert (start, stop) == (0, 1)
        text.append(sum(bit << i for i, bit in enumerate(bits)))
        at = middles[-1]
    return text.decode().split("\r\n")


def first_names(model):
    """Return the first stream's names."""
    document = []
    for token in itertools.islice(GoldenModel(model).generate(1, TEMPERATURES[0]), 20_000):
        document.append(token.token)
        if token.last:
            yield model.tokenizer.decode(document)
            document = []


@pytest.mark.nightly
def test_names_of_one_stream_and_the_speed_of_all(chip):
    model, top, engine = chip
    engine.record(["tx"])
    seconds = 3
    engine.run(seconds * CLOCK + CLOCK // 2)
    label, *lines, _ = received(engine.recording()["tx"].tolist())
    assert label == f"weights {model.checksum():08X}"

    golden = first_names(model)
    names = [line for line in lines if "/s" not in line]
    assert len(names) > 100
    # Names that end while the line is busy are dropped; the others keep their order.
    assert all(name in golden for name in names)

    core = top.core.core
    speeds = [int(line.removesuffix("k token/s")) for line in lines if "/s" in line]
    assert len(speeds) == seconds
    for speed in speeds:
        assert abs(speed - CLOCK / core.interval / THOUSAND) <= 1


@pytest.mark.nightly
def test_both_on_a_display():
    """Name and speed of a small model, decoded from the pins."""
    # Random names of up to 16 letters: hardly one occurs in another stream, or twice.
    model = replace(random_model(context=16, vocabulary=9), tokenizer=Characters("abcdefgh"))
    core = UnrolledCore(model)
    top = make_top(find_board("ulx3s-85f"), model, core, CLOCK, BAUD, "hd44780")
    panel = HD44780Model(1 / CLOCK)
    with open_engine(top) as engine:
        watch(engine, [(panel, PREFIX)], 8 * CLOCK)
    pictures = [picture.lines for picture in panel.shown if picture.lines]
    # A picture may repeat the name of the one before, with another speed.
    golden, names = (
        first_names(model),
        [name.rstrip() for name, _ in itertools.groupby(p[0] for p in pictures)],
    )
    assert sum(len(name) > 4 for name in names) > 3
    assert all(name in golden for name in names)
    speeds = [re.fullmatch(r" *(\d+)k token/s", speed)[1] for _, speed in pictures]
    assert abs(int(speeds[-1]) - CLOCK / core.interval / THOUSAND) <= 1


def test_every_stream_begins_once():
    """Offering documents to streams that are not busy starts all of them, and ends none."""
    model = random_model(positions="alibi").with_cache(4, Eviction.WINDOW)
    core, bos = make_core(model, 2, 2, None, SIMULATED), model.tokenizer.bos
    chorus, scale = Chorus(core), core.encode_scale(model.noise_scale(1.0))
    golden, found = GoldenModel(model).generate(1, 1.0), []
    with open_engine(chorus, "pysim") as engine:
        engine.poke("i__payload", encode(Prompt, token=bos, last=1))
        engine.poke("temperature", scale)
        engine.poke("o__ready", 1)
        for _ in range(12 * core.streams * core.interval):
            engine.poke("i__valid", int(not engine.peek("busy")))
            if engine.peek("o__valid"):
                found.append(data.Layout.cast(Token).from_bits(engine.peek("o__payload")))
            engine.step()
        counters = data.Layout.cast(Counters).from_bits(engine.peek("counters"))
    assert [(t.token, t.position) for t in found] == [
        (right.token, right.position) for right in itertools.islice(golden, len(found))
    ]
    assert len(found) >= 10
    # A token in every turn, except in the first round.
    assert counters.tokens >= 10 * core.streams


@pytest.mark.nightly
def test_streams_without_end():
    """All streams go on while the first one's names are sent; long names are truncated."""
    model = random_model(context=16, vocabulary=9, positions="alibi")
    model = replace(model, tokenizer=Characters("abcdefgh")).with_cache(8, Eviction.WINDOW)
    core = UnrolledCore(model)
    top = make_top(find_board("ulx3s-85f"), model, core, CLOCK, BAUD, "none")
    with open_engine(top) as engine:
        engine.record(["tx"])
        engine.run(2 * CLOCK + CLOCK // 2)
    label, *lines, _ = received(engine.recording()["tx"].tolist())
    assert label == f"weights {model.checksum():08X}"
    names = [line for line in lines if "/s" not in line]
    golden = (name[: SHOWN - 1] for name in first_names(model))
    assert len(set(names)) > 20
    assert all(name in golden for name in names)
    for line in lines:
        if "/s" in line:
            speed = int(line.removesuffix("k token/s"))
            assert abs(speed - CLOCK / core.interval / THOUSAND) <= 1
