"""The whole top: names decoded from its serial pin, and the button."""

from itertools import islice, pairwise

import pytest
from amaranth.lib import data

from gptloom.firmware.image import build_image
from gptloom.firmware.machine import Machine
from gptloom.firmware.page import TEMPERATURES
from gptloom.hdl.core import COUNTER_BITS, Counters
from gptloom.hdl.folded.core import FoldedCore
from gptloom.hdl.folded.layouts import Temperature
from gptloom.hdl.preload import Preload
from gptloom.hdl.top import Button, Top
from gptloom.hdl.uart import Transmitter, baud_divider
from gptloom.model.checkpoint import load_checkpoint
from gptloom.model.errors import UserError
from gptloom.model.golden import GoldenModel
from gptloom.model.quantise import quantise
from gptloom.sim.engines import open_engine
from verification.line import decode

# One test process builds it while the others run other tests.
pytestmark = pytest.mark.xdist_group("top")

CLOCK = 1_000_000
BAUD = 50_000
CYCLES = CLOCK // BAUD


@pytest.fixture(scope="module")
def model():
    return quantise(load_checkpoint("names"))


def make_top(model, clock_hz, baud):
    machine = Machine.for_models(16, model.config)
    image = build_image(model, machine)
    preload = Preload.of(image, machine)
    core = FoldedCore(machine, preload=preload)
    sizes = image.checked_sizes(machine)
    return Top(core, preload.page, image.config, sizes, clock_hz=clock_hz, baud=baud)


def label(model):
    """Return the line with the checksum of the memories; zlib computes the CRC."""
    machine = Machine.for_models(16, model.config)
    return f"weights {build_image(model, machine).checksum(machine):08X}"


@pytest.fixture(scope="module")
def engine(model):
    with open_engine(make_top(model, CLOCK, BAUD)) as opened:
        yield opened


def lines(engine, cycles, received=()):
    """Return the complete lines sent from now on, at power-on or between two characters.

    `received` are levels in the other direction, one per bit, sent half-way through.
    """
    engine.record(["tx"])
    engine.run(cycles // 2)
    for level in received:
        engine.poke("rx", level)
        engine.run(CYCLES)
    engine.run(cycles // 2)
    sent = decode(engine.recording()["tx"].tolist(), CYCLES)
    return [line.decode() for line in sent.split(b"\r\n")[:-1]]


def names(model, temperature, count):
    """Return names of the golden model from power-on, at one temperature."""
    documents, document = [], []
    for token in GoldenModel(model).generate(1, temperature):
        document.append(token.token)
        if token.last:
            documents.append(model.tokenizer.decode(document))
            document = []
            if len(documents) == count:
                return documents
    raise AssertionError


@pytest.mark.long
def test_the_serial_line_carries_the_golden_models_names(model, engine):
    engine.reset()
    first, *sent = lines(engine, 130_000)
    assert first == label(model)
    generated = iter(names(model, TEMPERATURES[0], 90))
    assert len(sent) > 20
    # Names that end while the line is busy are dropped; the others keep their order.
    assert all(name in generated for name in sent)


@pytest.mark.long
def test_the_core_never_waits_for_the_line(model, engine):
    engine.reset()
    engine.run(90_000)
    counters = data.Layout.cast(Counters).from_bits(engine.peek("core.counters"))
    assert counters.tokens > 40
    assert counters.stalls == 0


@pytest.mark.long
def test_a_character_received_asks_for_the_checksum(model, engine):
    engine.reset()
    # An "a" at the line's rate: several falling edges are one request.
    first, *sent = lines(engine, 260_000, received=[0, 1, 0, 0, 0, 0, 1, 1, 0, 1])
    assert first == label(model)
    assert sent.count(label(model)) == 1
    # The core has gone on with the next document, and none was truncated.
    generated = iter(names(model, TEMPERATURES[0], 200))
    assert all(name in generated for name in sent if name != label(model))


@pytest.mark.nightly
def test_every_second_the_line_tells_the_speed(model, engine):
    engine.reset()
    engine.record(["tx", "core.counters"])
    engine.run(2 * CLOCK + 40 * 10 * CYCLES)
    recorded = engine.recording()
    sent = decode(recorded["tx"].tolist(), CYCLES).decode().split("\r\n")[:-1]
    counted = recorded["core.counters"][::CLOCK][:3]
    tokens = [int(words[0]) >> COUNTER_BITS for words in counted]
    told = [line for line in sent if line.endswith(" tokens/s")]
    for line, (before, after) in zip(told, pairwise(tokens), strict=True):
        # A token may be sampled while the digits settle.
        assert abs(int(line.split()[0]) - (after - before)) <= 1
        assert not line.startswith("0")
    generated = iter(names(model, TEMPERATURES[0], 4_000))
    assert all(name in generated for name in sent[1:] if name not in told)


@pytest.mark.nightly
def test_the_checksum_sees_a_bit_that_flips(model):
    top = make_top(model, CLOCK, BAUD)
    words = top.core.preload.operands
    words[3] ^= 1 << 77
    with open_engine(top) as engine:
        first, *_ = lines(engine, 100_000)
    assert first.startswith("weights ")
    assert first != label(model)


@pytest.mark.nightly
def test_the_button_steps_through_the_temperatures(model):
    # The clock is so slow that a bounce takes few cycles.
    with open_engine(make_top(model, 20_000, 1_000)) as engine:
        engine.record(["tx"])
        engine.run(100_000)
        for step in range(1, len(TEMPERATURES) + 1):
            engine.poke("button", 1)
            engine.run(100)
            # Released too early: that was a bounce.
            engine.poke("button", 0)
            engine.run(10)
            scale = model.logit_scale(TEMPERATURES[step % len(TEMPERATURES)])
            for level in (1, 0):
                engine.poke("button", level)
                # Taken when the present line has been sent.
                engine.run(4_000)
                seen = data.Layout.cast(Temperature).from_bits(engine.peek("core.temperature"))
                assert (seen.mantissa, seen.shift) == (scale.mantissa, scale.shift - 1)
        engine.run(10_000)
        sent = decode(engine.recording()["tx"].tolist(), CYCLES).decode().split("\r\n")
    # Without a display the serial line reports it.
    told = [line for line in sent if line.startswith("temperature")]
    assert told == [f"temperature {t:.1f}" for t in (*TEMPERATURES[1:], TEMPERATURES[0])]


@pytest.mark.parametrize("divider", [1, 2, 5, 70])
def test_transmitter(bench, divider):
    block = bench(Transmitter(divider))
    text, sent, levels = b"\x00\xffa\x55", 0, []
    while len(levels) < 12 * divider * len(text) + 20:
        block.set(i__valid=sent < len(text), i__payload=text[sent] if sent < len(text) else 0)
        sent += block.get("i__ready") and sent < len(text)
        levels.append(block.get("tx"))
        block.step()
    assert decode(levels, divider) == text
    assert levels[-1] == 1


def test_frames_follow_each_other_without_a_gap(bench):
    block = bench(Transmitter(4))
    block.set(i__valid=1, i__payload=0)
    levels = []
    for _ in range(200):
        levels.append(block.get("tx"))
        block.step()
    falls = [i for i in range(1, 200) if levels[i - 1] and not levels[i]]
    assert {b - a for a, b in zip(falls, islice(falls, 1, None), strict=False)} == {40}


@pytest.mark.parametrize("clock", [12e6, 48e6, 79.5e6, 80e6, 81e6])
@pytest.mark.parametrize("baud", [9600, 115200, 1_000_000])
def test_bauds_are_within_two_per_cent(clock, baud):
    assert clock / baud_divider(clock, baud) == pytest.approx(baud, rel=0.02)


@pytest.mark.parametrize(("clock", "baud"), [(80e6, 0), (12e6, 4_800_000), (80e6, 200_000_000)])
def test_bauds_that_cannot_be_made_are_refused(clock, baud):
    with pytest.raises(UserError, match="such as 115200"):
        baud_divider(clock, baud)


def test_bounces_do_not_press_the_button(bench):
    block = bench(Button(10))
    levels = [1, 0] * 30 + [1] * 40 + [0, 1] * 30 + [0] * 40
    presses = [seen["pressed"] for seen in block.play([{"i": x} for x in levels], ["pressed"])]
    assert sum(presses) == 1


def test_parameters_are_checked():
    with pytest.raises(ValueError, match="at least 1"):
        Transmitter(0)
    with pytest.raises(ValueError, match="at least 1"):
        Button(0)
