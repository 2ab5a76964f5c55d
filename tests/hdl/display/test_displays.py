"""The text on every display, decoded from its pins by panels that check the datasheets' rules."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptloom.hdl.display import hd44780
from gptloom.sim.engines import open_engine

pytestmark = [
    # Displays of which only parameters are read are never elaborated.
    pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable"),
    # One test process builds them while the others run other tests.
    pytest.mark.xdist_group("displays"),
    pytest.mark.long,
]

FIRST, SECOND = "Hello, {world}! gptloom 0123 #$%", "second text     is this one     "
NAMES = ("hd44780", "ssd1306", "ssd1331", "st7789")

# 12 MHz: all four in one compiled simulation. At 80 MHz the ST7789 takes 30 million cycles.
CASES = [(name, 12e6, NAMES) for name in NAMES] + [(name, 80e6, NAMES[:3]) for name in NAMES[:3]]
SLOW = [("st7789", 80e6), *((name, clock) for clock in (48e6, 81e6) for name in NAMES)]

# Characters that the ROM of most HD44780 has there.
OTHER = str.maketrans("\\~", "¥→")


def expected(name, text):
    return text.translate(OTHER) if name == "hd44780" else text


def marked(name):
    """Leave the panels with the longest frames, whose driver others have too, to the night."""
    marks = [pytest.mark.nightly] if name in ("ssd1331", "st7789") else []
    return pytest.param(name, marks=marks)


def check(setup, name):
    setup.write(FIRST)
    setup.show()
    setup.watch_until(lambda: setup.text is not None)
    assert setup.text == FIRST
    if name != "hd44780":
        assert setup.panel.stray_dots() == 0
    setup.write(SECOND)
    setup.show()
    setup.watch_until(lambda: setup.text == SECOND)
    # Dark in between, and never anything else.
    seen = [shown.lines and "".join(shown.lines) for shown in setup.panel.shown]
    assert seen == [None, FIRST, None, SECOND]
    # Every minimum was checked, and no others.
    checked = set(setup.panel.minima) - {"tCLKH", "TSHW"}
    assert checked <= set(setup.panel.seen)


@pytest.mark.parametrize(("name", "clock", "compiled"), CASES)
def test_text_in_text_out(displays, name, clock, compiled):
    check(displays(name, clock, compiled=compiled), name)


@pytest.mark.nightly
@pytest.mark.parametrize(("name", "clock"), SLOW)
def test_text_in_text_out_at_other_clocks(displays, name, clock):
    check(displays(name, clock), name)


@pytest.mark.parametrize("name", NAMES)
def test_79_5_and_80_mhz_make_the_same_hardware(kit, name):
    """So the simulation at 80 MHz, with pins sampled at 79.5 MHz, covers both."""
    slow, fast = (kit.make_display(name, clock) for clock in (79.5e6, 80e6))
    for attribute in ("slot_bits", "half", "pause_bits"):
        assert getattr(slow, attribute, None) == getattr(fast, attribute, None)


@pytest.mark.parametrize("name", [marked(name) for name in NAMES])
def test_a_reset_at_any_moment_ends_in_the_next_text(displays, name):
    """The panel keeps its power, and never shows a mix."""
    setup, draw = displays(name, 12e6), random.Random(name)
    for _ in range(4):
        setup.write(FIRST)
        setup.show()
        setup.watch_until(lambda: setup.text == FIRST)
        setup.watch(draw.randrange(200_000))
        while name == "hd44780" and setup.peek("e"):
            # A truncated pulse is an error, which the panel would report.
            setup.watch(1)
        setup.pulse("rst")
    setup.write(SECOND)
    setup.show()
    setup.watch_until(lambda: setup.text == SECOND)
    seen = {shown.lines and "".join(shown.lines) for shown in setup.panel.shown}
    assert seen <= {None, FIRST, SECOND, " " * 32}


@pytest.mark.parametrize(("name", "options"), [
    ("hd44780", dict(volts=5.0)),
    ("hd44780", dict(oscillator_hz=190e3)),
    ("hd44780", dict(oscillator_hz=350e3)),
    # The panel kept its power while the FPGA was reconfigured.
    ("hd44780", dict(four_bits=True)),
    ("hd44780", dict(half_byte=0x0)),
    ("hd44780", dict(half_byte=0xF)),
])  # fmt: skip
def test_every_panel_works(displays, name, options):
    check(displays(name, 12e6, **options), name)


def test_a_buffer_that_nothing_was_written_to_is_blank(displays):
    for name in NAMES:
        setup = displays(name, 12e6)
        setup.watch_until(lambda setup=setup: setup.text is not None)
        assert setup.text == " " * 32


@pytest.fixture(scope="module", params=[marked(name) for name in NAMES])
def running(request, displays):
    """Return a display that already shows a text; tests go on where others ended."""
    setup = displays(request.param, 12e6, owner="running")
    setup.name = request.param
    setup.write(FIRST)
    setup.show()
    setup.watch_until(lambda: setup.text == FIRST)
    return setup


@settings(max_examples=4, derandomize=True, deadline=None, database=None)
@given(
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=32, max_size=32),
    st.integers(1, 150_000),
    st.integers(0, 32),
)
def test_never_a_mix(running, text, delay, pause_after):
    """A text is written at any time, in two parts with refreshes between them."""
    old = running.text
    new = expected(running.name, text)
    before = len(running.panel.shown)
    order = random.Random(delay).sample(range(32), 32)
    running.watch(delay)
    running.write(text, order[:pause_after])
    running.watch(150_000)
    running.write(text, order[pause_after:])
    running.show()
    running.watch_until(lambda: running.text == new and running.peek("free"))
    seen = [shown.lines and "".join(shown.lines) for shown in running.panel.shown[before:]]
    assert seen in ([], [None, new]) if old == new else seen == [None, new]


def test_texts_that_change_all_the_time_are_seen(running):
    """Whenever the buffer is free it gets another text."""
    before = len(running.panel.shown)
    texts = [f"text {i:02}".ljust(16) * 2 for i in range(4)]
    for text in texts:
        running.watch_until(lambda: running.peek("free"))
        running.write(text)
        running.show()
    running.watch_until(lambda: running.text == texts[-1])
    seen = [shown for shown in running.panel.shown[before:]]
    assert ["".join(shown.lines) for shown in seen if shown.lines] == texts
    # Each as long as it takes to write it.
    lit = [b.seconds - a.seconds for a, b in zip(seen[1::2], seen[2::2], strict=False)]
    dark = [b.seconds - a.seconds for a, b in zip(seen[::2], seen[1::2], strict=True)]
    assert min(lit) > 0.9 * max(dark)


@pytest.mark.parametrize("name", ["hd44780", "ssd1306"])
def test_every_minimum_ends_where_the_panel_says(displays, kit, name):
    """With the same pins sampled on faster clocks, each minimum fails exactly where it must."""
    chunks = []

    class Recorder(kit.models[name]):
        def feed(self, levels):
            chunks.append(levels)
            super().feed(levels)

    setup = displays(name, 12e6, panel=Recorder(1 / 12e6))
    check(setup, name)
    trace = {pin: np.concatenate([chunk[pin] for chunk in chunks]) for pin in setup.panel.pins}

    def violated(period):
        panel = kit.models[name](period, strict=False)
        panel.feed(trace)
        return {getattr(error, "minimum", None) for error in panel.violations}

    for minimum, needed in setup.panel.minima.items():
        shortest = needed / setup.panel.seen[minimum] / 12e6
        assert minimum not in violated(shortest * 1.001)
        assert minimum in violated(shortest * 0.999)


@pytest.mark.parametrize(("changes", "slot_bits", "rounds", "minima"), [
    (dict(WAITING_ROUNDS=2), 7, 3, {"power-up wait"}),
    (
        dict(FIRST_WAIT=0, SECOND_WAIT=0, CLEARING=hd44780.CLEARING / 2),
        7,
        6,
        {
            "wait after the first function set",
            "wait after the second function set",
            "execution of clear or home",
        },
    ),
    (
        {},
        6,
        7,
        {
            "power-up wait",
            "wait after the first function set",
            "execution of clear or home",
            "execution of an instruction",
            "execution of a character",
        },
    ),
])  # fmt: skip
def test_a_shortened_wait_of_the_driver_is_noticed(
    kit, monkeypatch, changes, slot_bits, rounds, minima
):
    """At 1 MHz a slot of 2**7 cycles is hardly longer than necessary."""
    for name, value in changes.items():
        monkeypatch.setattr(hd44780, name, value)
    display = kit.make_display("hd44780", 1e6)
    assert display.slot_bits == 7
    display.slot_bits = slot_bits
    panel = kit.models["hd44780"](1e-6, oscillator_hz=190e3, strict=False)
    with open_engine(kit.Screens(dict(hd44780=display)), "pysim") as engine:
        setup = kit.Setup(engine, "hd44780", panel, display)
        setup.watch(rounds * hd44780.SLOTS << slot_bits)
    assert {error.minimum for error in panel.violations} == minima


@pytest.mark.parametrize(("pause_bits", "period", "minima"), [
    (6, 100e-6, set()),
    (5, 100e-6, {"reset to SLPOUT"}),
    (4, 100e-6, {"reset to SLPOUT", "SLPOUT to a command"}),
    (1, 1e-6, {"reset to SLPOUT", "SLPOUT to a command", "reset to a command", "TRW"}),
])  # fmt: skip
def test_a_shortened_pause_of_the_driver_is_noticed(kit, pause_bits, period, minima):
    """At 10 kHz a pause has 2**6 bits of 2 cycles."""
    display = kit.make_display("st7789", 10e3)
    assert (display.pause_bits, display.half) == (6, 1)
    display.pause_bits = pause_bits
    panel = kit.models["st7789"](period, strict=False)
    with open_engine(kit.Screens(dict(st7789=display)), "pysim") as engine:
        kit.Setup(engine, "st7789", panel, display).watch((18 << pause_bits + 1) + 200)
    assert {error.minimum for error in panel.violations} == minima
