"""Text as a display reads it, against a model that lays out all of it anew."""

import random
from itertools import pairwise

import pytest

from gptloom.hdl.display.text import COLUMNS, TEXT_LATENCY
from gptloom.hdl.display.two_lines import HOLD_TICKS, RATES, SHOW_TICKS, TICKS
from gptloom.hdl.display.typewriter import Typewriter
from verification.typewriter import window

TICK = 100
CLOCK = TICK * TICKS
PACES = (10, 40, 160, None)
TEMPERATURES = tuple(f"temperature {t}" for t in ("0.7", "1.0", "1.5", "0.4"))


def test_the_model_breaks_lines_where_people_do():
    assert window(b"once upon a time there was") == ("once upon a time", "there was       ")
    assert window(b"once upon a tiger") == ("once upon a     ", "tiger           ")
    assert window("caf\u00e9 \u20ac\r\n".encode()) == (" " * 16, "caf? ?          ")
    assert window(b"a\r\n" + b"b" * 16 + b"\r\nc") == ("b" * 16, "c" + " " * 15)
    assert window(b"a\r\n\r\n") == ("a" + " " * 15, " " * 16)


def draw_text(source):
    """Return some bytes: words of all lengths, blanks, line ends and other characters."""
    parts = []
    for _ in range(25):
        kind = source.random()
        if kind < 0.65:
            parts.append(bytes(source.choices(range(33, 127), k=source.randint(1, 8))))
        elif kind < 0.72:
            parts.append(bytes(source.choices(range(33, 127), k=source.randint(14, 34))))
        elif kind < 0.85:
            parts.append(b"\r\n")
        else:
            parts.append(source.choice(["\u00e9", "\u20ac", "\U0001f600", "\t", "\x7f"]).encode())
        parts.append(b" " * source.choice((0, 1, 1, 1, 1, 2, 9)))
    return b"".join(parts)


class Shown:
    """A typewriter that types and is refreshed, both at random times."""

    def __init__(self, bench, source, gaps=(40, 90), text=b""):
        self.block, self.source, self.gaps = bench(Typewriter(CLOCK, TEMPERATURES)), source, gaps
        self.waiting, self.sent, self.gap, self.cycle = text, b"", 5, 0
        self.events = 0

    def step(self):
        strobe = self.gap == 0 and bool(self.waiting)
        self.block.set(strobe=strobe, character=self.waiting[0] if strobe else 0)
        self.block.set(event=bool(self.events) and self.cycle % self.events == 0)
        if strobe:
            self.sent, self.waiting = self.sent + self.waiting[:1], self.waiting[1:]
            self.gap = self.source.randrange(*self.gaps)
        self.gap -= self.gap > 0
        self.block.step()
        self.cycle += 1

    def read(self, slow=0):
        """Refresh once, in random order; return both lines and whether they are new."""
        block = self.block
        block.set(text__begin=1)
        self.step()
        block.set(text__begin=0)
        new = block.get("text__changed")
        for _ in range(TEXT_LATENCY):
            self.step()
        text, places = {}, list(range(2 * COLUMNS))
        self.source.shuffle(places)
        for address in places:
            block.set(text__address=address)
            for _ in range(self.source.randint(2, 2 + slow)):
                self.step()
            text[address] = chr(block.get("text__character") or 32)
        assert block.get("text__changed") == new
        line = "".join(text[place] for place in range(2 * COLUMNS))
        return new, (line[:COLUMNS], line[COLUMNS:])


@pytest.mark.parametrize(
    "gaps", [(40, 90), (1, 60), pytest.param((100, 400), marks=pytest.mark.long)]
)
@pytest.mark.parametrize("number", range(2))
def test_every_refresh_shows_the_text_of_one_moment(bench, seed, number, gaps):
    source = random.Random(seed + number)
    shown = Shown(bench, source, gaps, draw_text(source))
    before, earlier, least, moments = None, 0, 0, 0
    while shown.waiting:
        for _ in range(source.choice((0, 30, 300))):
            shown.step()
        until = len(shown.sent)
        new, lines = shown.read(slow=source.choice((0, 9)))
        # One text of all between that of the refresh before and the newest.
        fits = [n for n in range(least, until + 1) if window(shown.sent[:n]) == lines]
        assert fits, lines
        assert new or before in (None, lines)
        if gaps[0] >= 40:
            assert fits[-1] >= earlier
        moments += lines != before
        before, earlier, least = lines, until, fits[0]
    assert moments > 5
    for _ in range(3):
        for _ in range(50):
            shown.step()
        new, lines = shown.read()
    assert lines == window(shown.sent)
    assert not new


def ticks_of(shown, ticks, **inputs):
    """Refresh for some ticks; return the lines seen, with their ticks from now on."""
    shown.block.set(**inputs)
    start, seen = shown.cycle, []
    while shown.cycle - start < ticks * TICK:
        _, lines = shown.read()
        seen.append(((shown.cycle - start) / TICK, *lines))
        shown.block.set(pressed=0)
    return seen


def test_a_press_shows_the_temperature_and_then_the_text_again(bench, seed):
    shown = Shown(bench, random.Random(seed), text=b"the first line\r\nthe second one\r\n")
    texts = window(shown.waiting)
    shown.events = 10
    assert ticks_of(shown, 20)[-1][1:] == texts
    turns = 0
    for number in (0, 1, 2):
        shown.block.set(pressed=1)
        turns += shown.block.get("turn")
        assert turns == number
        shown.block.set(temperature=turns)
        seen = ticks_of(shown, 9)
        assert all(line[1] == texts[0] for line in seen)
        assert {line[2] for line in seen[2:]} == {TEMPERATURES[number] + " "}
    until = [t for t, _, lower in ticks_of(shown, SHOW_TICKS) if lower.startswith("temperature")]
    assert max(until) == pytest.approx(SHOW_TICKS - 9, abs=2)
    assert ticks_of(shown, 1)[-1][1:] == texts


@pytest.mark.long
def test_holding_the_button_shows_the_speed_until_three_seconds_later(bench, seed):
    shown = Shown(bench, random.Random(seed), text=b"the first line\r\nthe second one\r\n")
    texts = window(shown.waiting)
    shown.events = 10
    ticks_of(shown, 2 * TICKS)
    seen = ticks_of(shown, 5 * TICKS, pressed=1, button=1)
    speeds = [(at, lower) for at, _, lower in seen if lower.endswith(" tokens/s")]
    assert speeds[0][0] == pytest.approx(HOLD_TICKS, abs=2)
    assert {lower.startswith("temperature") for at, _, lower in seen[2:] if at < 20} == {True}
    assert {int(lower.split()[0]) for _, lower in speeds} == {CLOCK // 10}
    assert seen[-1][2] == speeds[-1][1]
    after = ticks_of(shown, SHOW_TICKS + 4, button=0)
    until = [at for at, _, lower in after if lower.endswith(" tokens/s")]
    assert max(until) == pytest.approx(SHOW_TICKS, abs=2)
    assert after[-1][1:] == texts


@pytest.mark.parametrize("rate", range(len(RATES)))
@pytest.mark.parametrize("clock", [CLOCK, 3_997])
def test_tokens_are_as_far_apart_as_the_button_chose(bench, seed, rate, clock):
    source, block = random.Random(seed), bench(Typewriter(clock, TEMPERATURES))
    for _ in range(rate):
        block.set(button=1)
        block.step((HOLD_TICKS + 1) * round(clock / TICKS))
        block.set(button=0)
        block.step(2)
    assert block.get("rate") == rate
    least = clock / PACES[rate] if PACES[rate] else 1
    for often in (1, 0.9 / least):
        taken = []
        for cycle in range(9 * round(least) + 40):
            event = block.get("pace") and source.random() < often
            block.set(event=event)
            taken += [cycle] * event
            block.step()
            block.set(event=0)
        apart = [b - a for a, b in pairwise(taken)]
        assert len(apart) >= 2
        assert min(apart) >= least
        if often == 1:
            # Tokens that wait are not kept longer.
            assert max(apart) <= least + RATES[rate] + 2


def test_without_a_button_both_lines_are_text(bench, seed):
    shown = Shown(bench, random.Random(seed), text=b"the first line\r\nthe second one")
    shown.block = bench(Typewriter(CLOCK, TEMPERATURES, button=False))
    texts, shown.events = window(shown.waiting), 3
    ticks_of(shown, 2 * TICKS)
    assert ticks_of(shown, 3, button=1, pressed=1)[-1][1:] == texts
