"""Two lines on a display: what the screens of names and of text have in common."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import enum, wiring
from amaranth.lib.wiring import In, Out

from gptloom.firmware.page import UNIT
from gptloom.hdl.arithmetic import remainder
from gptloom.hdl.display.text import COLUMNS, TextBuffer, TextSignature
from gptloom.hdl.speed import DIGITS, Speed

TICKS = 32
"""Ticks per second of the screen's clock."""

RATES = (16, 4, 1, 0)
"""Minimum waits between names in ticks, or between tokens in beats; the last is none."""

SHOW_TICKS = 3 * TICKS
"""Time for which the second line is kept after the button was used."""

HOLD_TICKS = TICKS * 3 // 4
"""Time for which the button must be held to change the rate, and again to change it once more."""

BLANK = 0


class Line(enum.Enum, shape=1):
    """Content of the second line."""

    SPEED = 0
    TEMPERATURE = 1


class TwoLines(ABC, wiring.Component):
    """A buffer of text, and a second line with the speed or the temperature, without stalls.

    Subclasses fill the buffer. The second line is sampled when a refresh of the display begins.

    Parameters
    ----------
    clock_hz
        Frequency of the domain ``sync``.
    temperatures
        Text for each temperature, by its number, up to 16 characters.
    rate
        Index in ``RATES`` at power-on.
    button
        Whether there is a button; without one the second line never changes its kind.
    unit
        Unit of the speed, which fills the line after its seven digits.

    Attributes
    ----------
    text_below : bool
        The second line is the buffer's, unless the button is or was used.
    ports : dict
        Ports of a subclass alone, by name.
    text : In(TextSignature)
        The display.
    strobe, character : In(1), In(8)
        A character is sent.
    event : In(1)
        Event that the speed counts: a token was sampled.
    button, pressed : In(1)
        State of the button; pulse when it was pressed.
    temperature : In
        Number of the present temperature.
    turn : Out(1)
        Pulse: take the next temperature. The first press only shows the present one.
    rate : Out
        Index in ``RATES``.
    """

    text_below: ClassVar[bool]
    ports: ClassVar[dict[str, Out]] = {}

    def __init__(
        self,
        clock_hz: float,
        temperatures: Sequence[str],
        rate: int = 0,
        button: bool = True,
        unit: bytes = UNIT,
    ):
        self._has_button, self._unit = button, unit
        self._clock_hz = clock_hz
        self._temperatures = [name.ljust(COLUMNS) for name in temperatures]
        super().__init__(
            {
                "text": In(TextSignature()),
                "strobe": In(1),
                "character": In(8),
                "event": In(1),
                "button": In(1),
                "pressed": In(1),
                "temperature": In(range(max(2, len(temperatures)))),
                "turn": Out(1),
                "rate": Out(range(len(RATES)), init=rate),
                **self.ports,
            }
        )

    def elaborate(self, platform):
        m = Module()
        tick, second = self._clock(m)
        m.submodules.speed = speed = Speed()
        m.submodules.buffer = buffer = TextBuffer()
        m.d.comb += [speed.event.eq(self.event), speed.second.eq(second)]
        line, covers = Const(Line.SPEED.value, 1), Const(not self.text_below, 1)
        if self._has_button:
            line, covers = self._buttons(m, tick)
        changed, covered, second_line = self._second_line(m, speed, line, covers)
        text = self.text
        m.d.comb += [
            buffer.text.begin.eq(text.begin),
            buffer.text.address.eq(text.address),
            text.changed.eq(buffer.text.changed | changed),
        ]
        # Block RAM is slow, and displays have time.
        character = Mux(text.address[-1] & covered, second_line, buffer.text.character)
        m.d.sync += text.character.eq(character)
        self._fill(m, buffer, tick)
        return m

    @abstractmethod
    def _fill(self, m: Module, buffer: TextBuffer, tick) -> None:
        """Write text to the buffer."""

    def _clock(self, m: Module) -> tuple[Signal, Value]:
        """Return a pulse for every tick, and one for the tick that ends a second."""
        period = round(self._clock_hz / TICKS)
        cycles, tick = Signal(range(period)), Signal()
        ticks = Signal(range(TICKS))
        m.d.comb += tick.eq(cycles == period - 1)
        m.d.sync += [cycles.eq(Mux(tick, 0, cycles + 1)), ticks.eq(ticks + tick)]
        return tick, tick & (ticks == TICKS - 1)

    def _buttons(self, m: Module, tick) -> tuple[Value, Value]:
        """Return the content of the second line, and whether it is there at all."""
        line = Signal(Line)
        shown, held = Signal(range(SHOW_TICKS + 1)), Signal(range(HOLD_TICKS))
        with m.If(self.pressed):
            m.d.sync += [line.eq(Line.TEMPERATURE), shown.eq(SHOW_TICKS)]
            m.d.comb += self.turn.eq(line == Line.TEMPERATURE)
        with m.Elif(tick & (shown != 0)):
            m.d.sync += shown.eq(shown - 1)
        with m.Elif(shown == 0):
            m.d.sync += line.eq(Line.SPEED)
        with m.If(~self.button):
            m.d.sync += held.eq(0)
        with m.Elif(tick):
            m.d.sync += held.eq(held + 1)
            with m.If(held == HOLD_TICKS - 1):
                m.d.sync += [held.eq(0), self.rate.eq(self.rate + 1)]
                if self.text_below:
                    m.d.sync += line.eq(Line.SPEED)
        if not self.text_below:
            return line.as_value(), Const(1, 1)
        with m.If(self.button & (line == Line.SPEED)):
            m.d.sync += shown.eq(SHOW_TICKS)
        return line.as_value(), shown != 0

    def _due(self, m: Module, tick, shows) -> Value:
        """Return whether the next name may be shown, or the next token taken."""
        waited = Signal(range(max(RATES) + 1), init=max(RATES))
        due = waited >= Array(RATES)[self.rate]
        with m.If(shows):
            m.d.sync += waited.eq(0)
        with m.Elif(tick & ~due):
            m.d.sync += waited.eq(waited + 1)
        return due

    def _second_line(self, m: Module, speed: Speed, line, covers) -> tuple[Signal, Signal, Signal]:
        """Return whether the line changed since the last refresh, and whether it is there.

        The third value is its character, a cycle late.
        """
        digits = Signal.like(Cat(speed.digits))
        shown_line, temperature = Signal(), Signal.like(self.temperature)
        covered = Const(not self.text_below, 1)
        settling, fresh, changed = Signal(name="settling"), Signal(name="fresh"), Signal()
        # Without a button none ever changes.
        kept = [(line, shown_line), (self.temperature, temperature)] if self._has_button else []
        if self._has_button and self.text_below:
            covered = Signal()
            kept.append((covers, covered))
        other = Cat(now != shown for now, shown in kept).any()
        with m.If(self.text.begin):
            m.d.sync += [shown.eq(now) for now, shown in kept]
            m.d.sync += [changed.eq(fresh & covers | other), fresh.eq(0)]
            # Otherwise half of the digits would be those of the last second.
            with m.If(~settling):
                m.d.sync += digits.eq(Cat(speed.digits))
        with m.If(speed.second):
            m.d.sync += settling.eq(1)
        with m.Elif(speed.done):
            m.d.sync += [settling.eq(0), fresh.eq(1)]

        column = remainder(self.text.address, COLUMNS)
        numbers = [digits.word_select(DIGITS - 1 - i, 4) for i in range(DIGITS)]
        # Leading zeros are blank, except for the last digit.
        blank = [Cat(numbers[: i + 1]) == 0 for i in range(DIGITS - 1)] + [Const(0, 1)]
        characters = [
            Mux(none, BLANK, ord("0") + number) for none, number in zip(blank, numbers, strict=True)
        ]
        speeds = Array([*characters, *(Const(c, 7) for c in self._unit)])[column]
        names = Array(Array(list(name.encode())) for name in self._temperatures)
        character = Signal(8)
        m.d.sync += character.eq(
            Mux(shown_line == Line.SPEED.value, speeds, names[temperature][column])
        )
        return changed, covered, character
