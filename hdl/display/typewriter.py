"""The screen of text: characters appear as they are written, at a pace for readers."""

from math import ceil
from typing import ClassVar

from amaranth.hdl import Array, Module, Mux, Signal, Value, unsigned
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import Out

from gptloom.hdl.arithmetic import quotient, remainder
from gptloom.hdl.attributes import BLOCK_RAM
from gptloom.hdl.display.text import COLUMNS, LINES, TextBuffer
from gptloom.hdl.display.two_lines import BLANK, TwoLines

BEATS = 160
"""Beats per second, in which tokens wait for each other: ``RATES`` are 10 tokens a second, 40,
160, as many as there are."""

CARRIAGE_RETURN, LINE_FEED, SPACE, UNKNOWN, DELETE = 13, 10, 32, 63, 127


class Typewriter(TwoLines):
    """The text on both lines; see :class:`.TwoLines` for parameters and ports.

    The lower line is the one being written. A character that begins a line moves it up: after a
    line feed, or when the line is full; then the word that does not fit moves to the new line.
    A letter that is not ASCII is shown as one question mark.

    A text is copied to the buffer for the display, which takes 34 cycles from the last character
    on. Characters that come sooner after each other are shown together.

    Attributes
    ----------
    pace : Out(1)
        The next token may be taken: the last `event` was long enough ago.
    """

    text_below: ClassVar[bool] = True

    ports: ClassVar[dict[str, Out]] = {"pace": Out(1)}

    def _fill(self, m: Module, buffer: TextBuffer, tick) -> None:
        """Type what is sent, and copy the lines whenever they have changed."""
        # A cycle late: whether it is high decides on what the core does.
        m.d.sync += self.pace.eq(self._due(m, self._beats(m), self.event) & ~self.event)
        m.submodules.typed = typed = Memory(
            shape=unsigned(8), depth=LINES * COLUMNS, init=[], attrs=BLOCK_RAM
        )
        # Both lines in one ring, the upper one just before the lower one.
        start = Signal(range(LINES * COLUMNS))
        upper, lower = Signal(range(COLUMNS + 1)), Signal(range(COLUMNS + 1))
        changed = self._type(m, typed, start, upper, lower)
        self._copy(m, typed, buffer, changed, (start - upper, start), (upper, lower))

    def _beats(self, m: Module) -> Value:
        """Return a pulse for every beat since the last token."""
        period = ceil(self._clock_hz / BEATS)
        cycles = Signal(range(period))
        beat = cycles == period - 1
        m.d.sync += cycles.eq(Mux(beat | self.event, 0, cycles + 1))
        return beat

    def _type(self, m: Module, typed: Memory, start, upper, lower) -> Signal:
        """Append a character to the lower line, or begin a new one; return whether one came."""
        character, changed = self.character, Signal(name="typed_one")
        write = typed.write_port()
        # Column at which the last word begins.
        word, ended = Signal(range(COLUMNS + 1)), Signal(name="ended")
        feed, space = character == LINE_FEED, character == SPACE
        continues = character[6:] == 0b10
        control = (character[5:] == 0) | character[7] | (character == DELETE)
        full = lower == COLUMNS
        # Length of the line that moves up.
        cut = Mux(ended, lower, Mux(word == 0, COLUMNS, word))
        m.d.comb += [
            write.addr.eq(start + lower),
            write.data.eq(Mux(control, UNKNOWN, character)),
            changed.eq(self.strobe & (character != CARRIAGE_RETURN) & ~continues),
        ]
        with m.If(changed):
            with m.If(feed):
                m.d.sync += ended.eq(1)
                with m.If(ended):
                    m.d.sync += [start.eq(start + lower), upper.eq(lower), lower.eq(0)]
            with m.Elif(full & space & ~ended):
                m.d.sync += word.eq(COLUMNS)
            with m.Else():
                m.d.comb += write.en.eq(1)
                m.d.sync += [lower.eq(lower + 1), ended.eq(0)]
                with m.If(space):
                    m.d.sync += word.eq(lower + 1)
                with m.If(ended | full):
                    m.d.sync += [
                        start.eq(start + cut),
                        upper.eq(cut),
                        lower.eq(lower - cut + 1),
                        word.eq(space),
                    ]
        return changed

    def _copy(self, m: Module, typed: Memory, buffer: TextBuffer, changed, starts, lengths) -> None:
        """Copy both lines to the buffer, from the beginning after each change."""
        read = typed.read_port()
        places = LINES * COLUMNS
        at, reading = Signal(range(places)), Signal(name="reading")
        # The character that was read in the cycle before.
        place, blank = Signal.like(at), Signal(name="blank")
        valid, last = Signal(name="valid"), Signal(name="last")
        line, column = quotient(at, COLUMNS), remainder(at, COLUMNS)
        steps = reading & buffer.free & ~buffer.show
        m.d.comb += [
            read.addr.eq(Array(starts)[line] + column),
            buffer.write.eq(valid),
            buffer.write_address.eq(place),
            buffer.write_data.eq(Mux(blank, BLANK, read.data)),
            buffer.show.eq(valid & last),
        ]
        m.d.sync += [
            valid.eq(steps),
            last.eq(at == places - 1),
            place.eq(at),
            blank.eq(column >= Array(lengths)[line]),
        ]
        with m.If(changed):
            m.d.sync += [at.eq(0), reading.eq(1)]
        with m.Elif(steps):
            m.d.sync += at.eq(at + 1)
            with m.If(at == places - 1):
                m.d.sync += reading.eq(0)
