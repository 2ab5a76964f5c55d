"""A speedometer: events in the last whole second, in decimal."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

DIGITS = 7


class Speed(wiring.Component):
    """Counts events in decimal digits, second by second; events may come in every cycle.

    A carry takes a cycle from digit to digit, and so does the end of the second: every digit is
    read and cleared when all events before the end, and none after it, have arrived there.

    Attributes
    ----------
    latency
        Cycles from `second` to the last of `digits`: one per digit.
    event : In(1)
        An event happened.
    second : In(1)
        Pulse: a second ends; an event in the same cycle belongs to the next second.
    digits : Out
        Number of events in the last second, modulo 10 million, the lowest digit first.
    done : Out(1)
        Pulse: all digits have been updated.
    """

    latency = DIGITS

    def __init__(self):
        super().__init__(
            {"event": In(1), "second": In(1), "digits": Out(4).array(DIGITS), "done": Out(1)}
        )

    def elaborate(self, platform):
        m = Module()
        event, second = self.event, self.second
        for number in range(DIGITS):
            count = Signal(4, name=f"count_{number}")
            carry, passed = Signal(name=f"carry_{number}"), Signal(name=f"second_{number}")
            full = count == 9
            with m.If(second):
                m.d.sync += [self.digits[number].eq(count), count.eq(event)]
            with m.Elif(event):
                m.d.sync += count.eq(Mux(full, 0, count + 1))
            m.d.sync += [carry.eq(event & full & ~second), passed.eq(second)]
            event, second = carry, passed
        m.d.comb += self.done.eq(second)
        return m
