"""The screen's text, as a display reads it, against the lines that were sent."""

from itertools import cycle, pairwise

import pytest

from gptloom.hdl.display.screen import Screen
from gptloom.hdl.display.text import COLUMNS
from gptloom.hdl.display.two_lines import HOLD_TICKS, RATES, SHOW_TICKS, TICKS

TICK = 24
TEMPERATURES = tuple(f"temperature {t}" for t in ("0.7", "1.0", "1.5", "0.4"))


class Watched:
    """A screen with an endless sequence of lines, and a display that refreshes all the time."""

    def __init__(self, bench, events=5, lengths=(8,)):
        self.block = bench(Screen(TICK * TICKS, TEMPERATURES))
        self.names = (f"{i}".rjust(n, "n")[:n] for i, n in enumerate(cycle(lengths)))
        self.waiting, self.sent, self.cycle, self.events = "", [], 0, events
        self.temperature, self.silent, self.name = 0, False, None

    def step(self):
        """Step once: a character every third cycle, 40 cycles before each line feed."""
        strobe = self.cycle % 3 == 0 or (self.waiting == "\n" and self.cycle % 120 == 0)
        strobe = strobe and not (self.silent and not self.waiting)
        if strobe and not self.waiting:
            self.sent.append(next(self.names))
            self.waiting = self.sent[-1] + "\r\n"
        if self.waiting == "\n":
            strobe = self.cycle % 120 == 0
        character = ord(self.waiting[0]) if strobe else 0
        self.waiting = self.waiting[strobe:]
        event = self.events and self.cycle % self.events == 0
        self.block.set(strobe=strobe, character=character, event=event)
        self.block.set(temperature=self.temperature)
        if self.block.get("turn"):
            self.temperature = (self.temperature + 1) % len(TEMPERATURES)
        self.block.step()
        self.cycle += 1

    def read(self):
        """Refresh once; return both lines and whether they are new."""
        self.block.set(text__begin=1)
        self.step()
        self.block.set(text__begin=0)
        new, text = self.block.get("text__changed"), ""
        for address in range(2 * COLUMNS):
            self.block.set(text__address=address)
            self.step()
            self.step()
            text += chr(self.block.get("text__character") or 32)
        return new, text[:COLUMNS], text[COLUMNS:]

    def run(self, ticks, **inputs):
        """Refresh for some ticks; return the new names and all second lines, with their cycles."""
        self.block.set(**inputs)
        names, seconds, end = [], [], self.cycle + ticks * TICK
        while self.cycle < end:
            new, name, second = self.read()
            if new and name != self.name:
                names.append((self.cycle, name.rstrip()))
            self.name = name
            seconds.append((self.cycle, second))
            self.block.set(pressed=0)
        return names, seconds


@pytest.mark.parametrize("rate", range(len(RATES)))
def test_names_come_at_the_rate_that_the_button_chooses(bench, rate):
    watched = Watched(bench)
    for _ in range(rate):
        watched.run(HOLD_TICKS, button=1)
        watched.run(1, button=0)
    names, _ = watched.run(3 * RATES[rate] + 16)
    assert watched.block.get("rate") == rate
    assert all(name in watched.sent for _, name in names)
    apart = [b - a for (a, _), (b, _) in pairwise(names)]
    # The name shown begins after the time has passed, and waits for a refresh.
    assert min(apart) >= RATES[rate] * TICK - 2 * 70
    assert max(apart) <= (RATES[rate] + 1) * TICK + 2 * 140 + 70


@pytest.mark.parametrize("events", [1, 3, 160, 0])
@pytest.mark.parametrize("length", [1, 8, COLUMNS])
def test_the_second_line_is_the_speed(bench, events, length):
    watched = Watched(bench, events, [length])
    watched.run(2 * TICKS + 8)
    _, seconds = watched.run(8)
    expected = TICK * TICKS / events if events else 0
    for _, second in seconds:
        assert second.endswith(" tokens/s")
        number = second.split()[0]
        assert abs(int(number) - expected) <= 1
        assert number == str(int(number))
        assert len(second) == COLUMNS


def test_a_press_shows_the_temperature_and_the_next_one_turns_it(bench):
    watched = Watched(bench)
    watched.run(8)
    for number in (0, 1, 2, 3, 0):
        _, seconds = watched.run(20, pressed=1)
        assert seconds[-1][1] == TEMPERATURES[number] + " "
        assert watched.temperature == number
    _, seconds = watched.run(SHOW_TICKS)
    assert seconds[-1][1].endswith("tokens/s")


def test_an_empty_line_is_not_shown(bench):
    watched = Watched(bench, lengths=[0, 3, 0, 0, 5])
    names, _ = watched.run(20 * RATES[0])
    assert len(names) > 10
    assert all(name for _, name in names[1:])
    assert all(name in watched.sent for _, name in names)


def test_the_second_line_is_of_the_moment_when_no_name_comes(bench):
    """After a pause of the generator, or before its first name."""
    watched = Watched(bench, events=3)
    watched.run(2 * TICKS + 8)
    watched.silent, watched.events = True, 0
    watched.run(2 * TICKS + 8)
    _, seconds = watched.run(8)
    assert seconds[-1][1].split() == ["0", "tokens/s"]
    _, seconds = watched.run(8, pressed=1)
    assert seconds[-1][1] == TEMPERATURES[0] + " "


def test_what_differs_from_refresh_to_refresh_is_said_to_have_changed(bench):
    """Digits that change while the line is read all belong to one second."""
    watched = Watched(bench, events=1)
    watched.block.set(button=1)
    before = None
    for _ in range(150):
        new, *lines = watched.read()
        assert new or lines == before or before is None
        before = lines
        speed = lines[1].split()
        if speed[-1] == "tokens/s":
            assert int(speed[0]) in (0, TICK * TICKS - 1, TICK * TICKS)
