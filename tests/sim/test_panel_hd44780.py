"""The model of an HD44780 module, with pins driven directly: display and refusals."""

import numpy as np
import pytest

from gptloom.sim.panels import HD44780Model, PanelError, TimingError

PERIOD = 5e-9

# Minima in nanoseconds, from the datasheet at less than 4.5 V.
GOOD = dict(tAS=60, PWEH=450, tDSW=195, tH=10, tAH=20, tcycE=1000)


class Host:
    """Drives the pins byte by byte, with the shortest times unless told otherwise."""

    def __init__(self, period=PERIOD):
        self.period = period
        self.changes = [(0, dict(rs=0, e=0, d=0))]
        self.now = 0.0

    def at(self, seconds, **pins):
        self.changes.append((seconds, pins))

    def nibble(self, rs, d, **times):
        """Write a nibble, beginning at `now`, which is then set to the end of E."""
        t = {name: ns * 1e-9 for name, ns in (GOOD | times).items()}
        rise = self.now + max(t["tAS"], t["tDSW"] - t["PWEH"])
        fall = rise + t["PWEH"]
        self.at(rise - t["tAS"], rs=rs)
        self.at(fall - t["tDSW"], d=d)
        self.at(rise, e=1)
        self.at(fall, e=0)
        self.at(fall + t["tH"], d=d ^ 15)
        self.at(fall + t["tAH"], rs=1 - rs)
        self.now = fall
        self.rest = max(t["tcycE"] - t["PWEH"] - t["tAS"], t["tH"], t["tAH"])

    def byte(self, rs, byte, after=70e-6):
        self.nibble(rs, byte >> 4)
        self.now += self.rest
        self.nibble(rs, byte & 15)
        self.now += after

    def initialise(self, power_up=0.041, first=4.2e-3, second=110e-6, clear=2.2e-3):
        self.now = power_up
        for wait in (first, second, 60e-6):
            self.nibble(0, 3)
            self.now += wait
        self.nibble(0, 2)
        self.now += 60e-6
        for instruction in (0x28, 0x08):
            self.byte(0, instruction)
        self.byte(0, 0x01, after=clear)
        self.byte(0, 0x06)
        self.byte(0, 0x0C)

    def text(self, text):
        for character in text:
            self.byte(1, ord(character))

    def trace(self):
        cycles = int(self.now / self.period) + 100
        levels = {name: np.zeros(cycles, np.uint8) for name in ("rs", "e", "d")}
        for seconds, pins in sorted(self.changes, key=lambda change: change[0]):
            for name, level in pins.items():
                levels[name][round(seconds / self.period) :] = level
        return levels


def shown(host, **options):
    panel = HD44780Model(host.period, **options)
    panel.feed(host.trace())
    return panel


# Samples of microseconds suffice if the bus is not under test, and make short traces.
@pytest.fixture
def host():
    return SlowHost()


class SlowHost(Host):
    def __init__(self):
        super().__init__(1e-6)

    def nibble(self, rs, d, **times):
        slow = dict(tAS=2000, PWEH=2000, tDSW=2000, tH=2000, tAH=2000, tcycE=8000)
        super().nibble(rs, d, **slow)


def test_text_is_shown(host):
    host.initialise()
    host.text("Hello")
    host.byte(0, 0xC3)
    host.text("~\\|")
    panel = shown(host)
    assert panel.lines == ("Hello           ", "   →¥|          ")
    assert panel.shown[0].lines is None
    assert [s.lines[0].rstrip() for s in panel.shown[1:6]] == ["", "H", "He", "Hel", "Hell"]


def test_instructions(host):
    host.initialise()
    host.text("abc")
    # The address after the end of the first line is the beginning of the second.
    host.byte(0, 0x80 + 39)
    host.text("xy")
    host.byte(0, 0x18)  # display one to the left
    panel = shown(host)
    assert panel.lines == ("bc              ", " " * 16)
    host.byte(0, 0x1C)
    host.byte(0, 0x1C)
    assert shown(host).lines == ("xabc            ", " y              ")
    host.byte(0, 0x02, after=2.2e-3)
    host.byte(0, 0x04)  # downwards
    host.byte(0, 0x14)
    host.byte(0, 0x14)
    host.text("12")
    assert shown(host).lines == ("a21             ", "y               ")
    host.byte(0, 0x08)
    assert shown(host).lines is None
    host.byte(0, 0x0C)
    host.byte(0, 0x01, after=2.2e-3)
    host.text("z")
    assert shown(host).lines == ("z               ", " " * 16)


def test_memory_after_power_on_is_not_blank(host):
    host.initialise()
    host.byte(0, 0x0C)
    before = shown(host)
    assert before.lines == (" " * 16, " " * 16)
    fresh = SlowHost()
    fresh.now = 0.041
    for nibble in (3, 3, 3, 2, 2, 8, 0, 12):
        fresh.nibble(0, nibble)
        fresh.now += 5e-3
    assert shown(fresh).lines == ("\ufffd" * 16, "\ufffd" * 16)


@pytest.mark.parametrize(("minimum", "step", "wait", "needed"), [
    ("power-up wait", "power_up", 39.9e-3, 40e-3),
    ("wait after the first function set", "first", 4.09e-3, 4.1e-3),
    ("wait after the second function set", "second", 95e-6, 100e-6),
    ("execution of clear or home", "clear", 1.51e-3, 1.52e-3),
])  # fmt: skip
def test_short_waits_are_refused(host, minimum, step, wait, needed):
    host.initialise(**{step: wait})
    with pytest.raises(TimingError, match=minimum) as caught:
        shown(host)
    assert (caught.value.minimum, caught.value.needed) == (minimum, pytest.approx(needed))
    assert caught.value.seen == pytest.approx(wait, abs=5e-6)
    relaxed = SlowHost()
    relaxed.initialise(**{step: needed})
    shown(relaxed)


@pytest.mark.parametrize(("rs", "byte", "minimum", "needed"), [
    (0, 0x80, "execution of an instruction", 37e-6),
    (1, 0x41, "execution of a character", 37e-6 + 1.5 / 270e3),
])  # fmt: skip
def test_instructions_take_their_time(host, rs, byte, minimum, needed):
    host.initialise()
    host.byte(rs, byte, after=needed - 5e-6)
    host.byte(rs, byte)
    with pytest.raises(TimingError, match=minimum):
        shown(host)
    relaxed = SlowHost()
    relaxed.initialise()
    relaxed.byte(rs, byte, after=needed)
    relaxed.byte(rs, byte)
    shown(relaxed)
    with pytest.raises(TimingError, match="execution"):
        shown(relaxed, oscillator_hz=190e3)


@pytest.mark.parametrize("minimum", GOOD)
def test_the_bus_is_checked(minimum):
    """A trace that misses only this minimum, by one sample, fails; exactly kept it passes."""

    def write(**times):
        host = Host()
        # Only the last two writes matter here, not the waits before.
        host.now = 1e-6
        for _ in range(2):
            host.nibble(0, 3, **times)
            host.now += host.rest
        panel = HD44780Model(PERIOD, strict=False)
        for wait in ("power-up wait", "wait after the first function set"):
            panel.minima[wait] = 0.0
        panel.feed(host.trace())
        return panel

    assert not write().violations
    short = {minimum: GOOD[minimum] - 5}
    panel = write(**short)
    assert {error.minimum for error in panel.violations} == {minimum}
    assert panel.violations[0].seen == pytest.approx((GOOD[minimum] - 5) * 1e-9)


def test_five_volts_need_less():
    host = Host()
    host.now = 15e-3
    host.nibble(0, 3, tAS=40, PWEH=230, tDSW=80, tH=10, tAH=10, tcycE=500)
    host.now += 1e-6
    shown(host, volts=5.0)
    with pytest.raises(TimingError, match="power-up"):
        shown(host, volts=3.3)


def test_an_initialisation_that_begins_otherwise_is_refused(host):
    host.now = 0.05
    host.nibble(0, 2)
    host.now += 1e-3
    with pytest.raises(PanelError, match="begins with 0x2 as write 1"):
        shown(host)


def test_the_initialisation_works_from_any_state(host):
    host.initialise()
    host.text("ok")
    for nibble in range(16):
        assert shown(host, half_byte=nibble).lines[0].startswith("ok")
    assert shown(host, four_bits=True).lines[0].startswith("ok")


def test_offline_and_live_are_the_same(host):
    host.initialise()
    host.text("live")
    trace = host.trace()
    whole, live, pieces = (HD44780Model(host.period) for _ in range(3))
    whole.feed(trace)
    for rs, e, d in zip(*(trace[pin].tolist() for pin in ("rs", "e", "d")), strict=True):
        live.step(rs=rs, e=e, d=d)
    for start in range(0, len(trace["e"]), 777):
        pieces.feed({pin: values[start : start + 777] for pin, values in trace.items()})
    for other in (live, pieces):
        assert (other.lines, other.seen, other.cycle) == (whole.lines, whole.seen, whole.cycle)
        assert [(s.seconds, s.lines) for s in other.shown] == [
            (s.seconds, s.lines) for s in whole.shown
        ]


def test_the_picture_has_the_characters_dots(host):
    host.initialise()
    host.text("F")
    panel = shown(host)
    picture = panel.picture()
    assert picture.shape == (3 + 18 + 2, 3 + 96 + 2, 3)
    lit = (picture == picture.min(axis=(0, 1))).all(axis=2)
    rows = ["".join(".#"[dot] for dot in row) for row in lit[3:11, 3:8].astype(int)]
    assert rows == ["#####", "#....", "#....", "####.", "#....", "#....", "#....", "....."]
    assert lit.sum() == 5 + 4 + 5
