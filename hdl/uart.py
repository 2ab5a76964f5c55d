"""Serial transmitter, 8 data bits, no parity, 1 stop bit."""

from amaranth.hdl import Cat, Const, Module, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from gptloom.model.errors import UserError

LARGEST_ERROR = 0.02
"""Of a baud rate. A receiver samples the stop bit 9.5 bits after the start bit's edge: both ends
together may be off by half a bit there, 5 %, of which each gets less than half."""

BITS = 10
"""Start bit, 8 data bits, stop bit."""


def baud_divider(clock_hz: float, baud: int) -> int:
    """Return the clock cycles of one bit.

    Parameters
    ----------
    clock_hz
        Frequency of the clock that the transmitter runs on.
    baud
        Bits per second.

    Raises
    ------
    UserError
        If no whole number of cycles comes within 2 % of the rate.
    """
    if baud < 1:
        raise UserError(f"{baud} baud is not a rate: give a positive number, such as 115200")
    divider = max(1, round(clock_hz / baud))
    error = abs(clock_hz / divider / baud - 1)
    if error > LARGEST_ERROR:
        raise UserError(
            f"{baud} baud cannot be made from {clock_hz / 1e6:g} MHz (off by {error:.1%}, at most "
            f"{LARGEST_ERROR:.0%} works): choose a lower rate, such as 115200"
        )
    return divider


class Transmitter(wiring.Component):
    """Bytes out on a pin, least significant bit first.

    Attributes
    ----------
    divider
        Clock cycles of a bit.
    i : In(stream of 8 bits)
        Bytes to send; one is taken as soon as the one before has ended.
    tx : Out(1)
        The pin; high when idle.
    """

    def __init__(self, divider: int):
        if divider < 1:
            raise ValueError(f"divider is {divider}, but a bit lasts at least 1 cycle")
        self.divider = divider
        super().__init__(
            {"i": In(stream.Signature(unsigned(8))), "tx": Out(1, init=1)},
        )

    def elaborate(self, platform):
        m = Module()
        # Ones follow the last bit, so that the line is idle when all have been sent.
        bits = Signal(BITS - 1, init=-1)
        left = Signal(range(BITS + 1))
        timer = Signal(range(self.divider))
        # Registers of their own: whoever delivers bytes waits for both.
        ends, free = Signal(init=1), Signal(init=1)
        m.d.comb += self.i.ready.eq(free & ends)
        m.d.sync += [timer.eq(timer - 1), ends.eq(timer == 1)]
        with m.If(ends):
            m.d.sync += [timer.eq(0), ends.eq(1)]
            with m.If(self.i.ready & self.i.valid):
                m.d.sync += [
                    self.tx.eq(0),
                    bits.eq(Cat(self.i.payload, Const(1, 1))),
                    left.eq(BITS - 1),
                    free.eq(0),
                    timer.eq(self.divider - 1),
                    ends.eq(self.divider == 1),
                ]
            with m.Elif(left != 0):
                m.d.sync += [
                    self.tx.eq(bits[0]),
                    bits.eq(Cat(bits[1:], Const(1, 1))),
                    left.eq(left - 1),
                    free.eq(left == 1),
                    timer.eq(self.divider - 1),
                    ends.eq(self.divider == 1),
                ]
        return m
