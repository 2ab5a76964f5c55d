"""A chip that writes text, from its pins: documents in full, what is told between them, a panel."""

import re
from itertools import islice

import numpy as np
import pytest

from gptloom.firmware.image import build_image
from gptloom.firmware.machine import Machine
from gptloom.firmware.page import TEMPERATURES
from gptloom.hdl.core import COUNTER_BITS
from gptloom.hdl.display.hd44780 import HD44780
from gptloom.hdl.folded.core import FoldedCore
from gptloom.hdl.preload import Preload
from gptloom.hdl.top import BOUNCE_SECONDS, Top
from gptloom.model.formats import FINE
from gptloom.model.golden import GoldenModel
from gptloom.model.llama_quantise import quantise_llama
from gptloom.sim.engines import open_engine
from gptloom.sim.panels import HD44780Model
from verification.line import decode
from verification.llama import GROUPED, make_checkpoint, with_pieces
from verification.typewriter import window

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("text top")]

CLOCK, BAUD = 100_000, 5_000
BIT = CLOCK // BAUD


@pytest.fixture(scope="module")
def model():
    return quantise_llama(with_pieces(make_checkpoint(GROUPED, 3)), FINE)


@pytest.fixture(scope="module")
def label(model):
    machine = Machine.for_model(32, model)
    return f"weights {build_image(model, machine).checksum(machine):08X}".encode()


def make_top(model, **options):
    machine = Machine.for_model(32, model)
    image = build_image(model, machine)
    preload = Preload.of(image, machine)
    core, sizes = FoldedCore(machine, preload=preload), image.checked_sizes(machine)
    options |= dict(clock_hz=CLOCK, baud=BAUD, bos=image.bos)
    return Top(core, preload.page, image.config, sizes, **options)


@pytest.fixture(scope="module")
def built(model):
    with open_engine(make_top(model)) as engine:
        yield engine


@pytest.fixture(scope="module")
def shown(model):
    with open_engine(make_top(model, display=HD44780(CLOCK), rate=1)) as engine:
        yield engine


def from_power_on(engine, *more):
    engine.reset()
    engine.poke("rx", 1)
    engine.poke("button", 0)
    engine.record(["tx", *more])
    return engine


@pytest.fixture
def chip(built):
    return from_power_on(built)


PINS = {pin: f"display__{pin}" for pin in HD44780Model.pins}


@pytest.fixture
def panelled(shown):
    return from_power_on(shown, *PINS.values(), "core.counters")


def sent(chip):
    """Return the whole lines that were sent since power-on."""
    return decode(chip.recording()["tx"].tolist(), BIT).split(b"\r\n")[:-1]


def documents(model, count, temperatures):
    """Return documents of the golden model from power-on, at one temperature after the other."""
    golden, found = GoldenModel(model), []
    for token in islice(golden.generate(1, temperatures), count):
        if token.position == 0:
            found.append([])
        found[-1].append(token.token)
    spelled = (b"".join(model.tokenizer.piece(t, t) for t in d if t != 1) for d in found)
    return [text.removeprefix(b" ") for text in spelled]


def test_every_document_is_sent_in_full(model, chip, label):
    chip.run(200_000)
    first, *lines = sent(chip)
    assert first == label
    texts = [line for line in lines if not line.endswith(b" tokens/s")]
    assert len(texts) > 30
    assert texts == documents(model, 2000, TEMPERATURES[0])[: len(texts)]
    # As many tokens as the line has time for.
    speeds = [int(line.split()[0]) for line in lines if line.endswith(b" tokens/s")]
    assert len(speeds) == 1
    assert 50 < speeds[0] < BAUD


def test_the_checksum_is_told_between_documents(model, chip, label):
    # Not while the first checksum is computed.
    chip.run(120_000)
    chip.poke("rx", 0)
    chip.run(BIT)
    chip.poke("rx", 1)
    chip.run(160_000)
    first, *lines = sent(chip)
    assert first == label
    assert lines.count(label) == 1
    texts = [line for line in lines if line != label and not line.endswith(b" tokens/s")]
    assert texts == documents(model, 2000, TEMPERATURES[0])[: len(texts)]


def test_the_button_changes_the_temperature_between_documents(model, chip):
    chip.run(60_000)
    chip.poke("button", 1)
    chip.run(round(2 * CLOCK * BOUNCE_SECONDS))
    chip.poke("button", 0)
    chip.run(100_000)
    _, *lines = sent(chip)
    told = f"temperature {TEMPERATURES[1]:.1f}".encode()
    assert lines.count(told) == 1
    before = lines[: lines.index(told)]
    assert before
    # The temperature changed at the latest where it was told.
    assert before[:-1] == documents(model, 2000, TEMPERATURES[0])[: len(before) - 1]
    after = [line for line in lines[lines.index(told) + 1 :] if not line.endswith(b" tokens/s")]
    assert after != documents(model, 2000, TEMPERATURES[0])[len(before) :][: len(after)]


def hold(chip, seconds):
    chip.poke("button", 1)
    chip.run(round(seconds * CLOCK))
    chip.poke("button", 0)


def pictures(chip):
    """Return the pairs of lines that the panel showed, with their times in cycles."""
    recorded, panel = chip.recording(), HD44780Model(1 / CLOCK)
    levels = {pin: recorded[name] for pin, name in PINS.items()}
    # Pictures are those at the ends of pieces: here, of every slot and a half.
    for at in range(0, len(recorded["tx"]), 100):
        panel.feed({pin: level[at : at + 100] for pin, level in levels.items()})
    return [(round(seen.seconds * CLOCK), seen.lines) for seen in panel.shown if seen.lines]


def sampled(chip):
    """Return the cycles in which the core sampled tokens."""
    counted = [int(words[0]) >> COUNTER_BITS for words in chip.recording()["core.counters"]]
    return np.flatnonzero(np.diff(counted))


def test_the_panel_shows_windows_of_the_text_that_is_sent(panelled, model, label):
    panelled.run(600_000)
    text = decode(panelled.recording()["tx"].tolist(), BIT)
    first, *lines = text.split(b"\r\n")[:-1]
    assert first == label
    assert lines == documents(model, 2000, TEMPERATURES[0])[: len(lines)]
    assert len(lines) > 10
    number, moments = 0, set()
    for _, seen in pictures(panelled):
        while window(text[:number]) != seen:
            number += 1
            assert number <= len(text), seen
        moments.add(number)
    assert len(moments) > 15
    # The last is of two refreshes before, at most.
    assert len(text) - number < 60


@pytest.mark.nightly
def test_tokens_come_at_the_pace_of_readers(panelled):
    panelled.run(300_000)
    # The core is one token ahead of its reader, the first one apart.
    apart = np.diff(sampled(panelled))[1:]
    assert apart.min() >= CLOCK / 40
    assert np.median(apart) <= CLOCK / 40 + 5
    assert len(apart) > 60


@pytest.mark.nightly
def test_the_button_shows_the_temperature_then_turns_it_then_there_is_text(panelled):
    panelled.run(200_000)
    start = panelled.cycles
    for _ in range(2):
        hold(panelled, 0.1)
        panelled.run(90_000)
    panelled.run(300_000)
    seen = [(at - start, lower.rstrip()) for at, (_, lower) in pictures(panelled) if at > start]
    told = [(at, lower) for at, lower in seen if lower.startswith("temperature")]
    assert [text for _, text in told if text.endswith(f"{TEMPERATURES[0]:.1f}")]
    assert told[-1][1] == f"temperature {TEMPERATURES[1]:.1f}"
    # Three seconds, and two refreshes at most.
    assert all(at < 100_000 + 330_000 for at, _ in told)
    assert seen[-1] != told[-1]
    # The line tells none of it.
    assert b"temperature" not in decode(panelled.recording()["tx"].tolist(), BIT)


@pytest.mark.nightly
def test_holding_the_button_changes_the_pace_and_shows_the_speed(panelled):
    panelled.run(200_000)
    hold(panelled, 2.4)
    end = panelled.cycles
    panelled.run(400_000)
    cycles = sampled(panelled)
    seconds = np.bincount(cycles // CLOCK)
    speeds = [
        (at, int(found[1]))
        for at, (_, lower) in pictures(panelled)
        if (found := re.fullmatch(r" *(\d+) tokens/s", lower))
    ]
    assert len({speed for _, speed in speeds}) > 1
    for at, speed in speeds:
        # Of the last whole second, or the one before until the display has been refreshed.
        assert any(abs(speed - seconds[at // CLOCK - n]) <= 1 for n in (1, 2)), (at, speed)
    assert 200_000 + 70_000 < speeds[0][0] < 200_000 + 120_000
    assert end + 240_000 < speeds[-1][0] < end + 340_000
    # From 40 to 160, to full speed and on to 10.
    assert np.diff(cycles[cycles > end + CLOCK // 10]).min() >= CLOCK / 10
    assert np.diff(cycles).min() < CLOCK / 160
