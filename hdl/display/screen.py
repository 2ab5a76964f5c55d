"""The screen of names: the newest one, and below it the speed or the temperature."""

from typing import ClassVar

from amaranth.hdl import Module, Signal

from gptloom.hdl.arithmetic import remainder
from gptloom.hdl.display.text import COLUMNS, TextBuffer
from gptloom.hdl.display.two_lines import BLANK, TwoLines

CARRIAGE_RETURN = 13


class Screen(TwoLines):
    """The newest name on the first line; see :class:`.TwoLines` for parameters and ports.

    The first line is taken from the characters sent on the serial line: the first line that begins
    once the rate allows it is kept, and shown when it has ended. The others are ignored. Lines have
    at most 16 characters and end with a carriage return and a line feed, which are at least 40
    cycles apart.

    The rates are two names a second, eight, 32, as many as the display can show.
    """

    text_below: ClassVar[bool] = False

    def _fill(self, m: Module, buffer: TextBuffer, tick) -> None:
        """Keep a line that is being sent, padded with blanks."""
        due = self._due(m, tick, buffer.show)
        place = Signal(range(COLUMNS + 1))
        returned = self.strobe & (self.character == CARRIAGE_RETURN)
        m.d.comb += [
            buffer.write_address.eq(remainder(place, COLUMNS)),
            buffer.write_data.eq(self.character),
        ]
        with m.FSM(init="BEGIN"):
            with m.State("PASS"), m.If(returned):
                m.next = "FEED"
            with m.State("FEED"), m.If(self.strobe):
                m.d.sync += place.eq(0)
                m.next = "BEGIN"
            with m.State("BEGIN"), m.If(self.strobe):
                m.next = "PASS"
                with m.If(returned):
                    # Nothing to show.
                    m.next = "FEED"
                with m.Elif(due & buffer.free):
                    m.d.comb += buffer.write.eq(1)
                    m.d.sync += place.eq(1)
                    m.next = "KEEP"
            with m.State("KEEP"), m.If(self.strobe):
                with m.If(returned):
                    m.next = "FILL"
                with m.Elif(place < COLUMNS):
                    m.d.comb += buffer.write.eq(1)
                    m.d.sync += place.eq(place + 1)
            with m.State("FILL"):
                m.d.comb += [
                    buffer.write.eq(place < COLUMNS),
                    buffer.write_data.eq(BLANK),
                    buffer.show.eq(place >= COLUMNS - 1),
                ]
                m.d.sync += place.eq(place + 1)
                with m.If(buffer.show):
                    m.next = "FEED"
