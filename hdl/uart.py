"""Serial transmitter and receiver, 8 data bits, no parity, 1 stop bit."""

from amaranth.hdl import Cat, Const, Module, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from gptloom.model.errors import UserError

LARGEST_ERROR = 0.02
"""Largest relative error of a baud rate. A receiver samples the stop bit 9.5 bits after the start
bit's edge: both ends together may be off by half a bit there, 5 %, and each gets less than half."""

BITS = 10
"""Start bit, 8 data bits, stop bit."""

LEAST_DIVIDER = 4
"""Cycles per bit that a receiver needs to find its middle."""


def baud_divider(clock_hz: float, baud: int, least: int = 1) -> int:
    """Return the clock cycles of one bit.

    Parameters
    ----------
    clock_hz
        Frequency of the transmitter's clock.
    baud
        Bits per second.
    least
        Minimum cycles per bit.

    Raises
    ------
    UserError
        If no whole number of cycles, `least` or more, is within 2 % of the rate.
    """
    if baud < 1:
        raise UserError(f"{baud} baud is not a rate: give a positive number, such as 115200")
    divider = max(least, round(clock_hz / baud))
    error = abs(clock_hz / divider / baud - 1)
    if error > LARGEST_ERROR:
        raise UserError(
            f"{baud} baud cannot be made from {clock_hz / 1e6:g} MHz (off by {error:.1%}, at most "
            f"{LARGEST_ERROR:.0%} works): choose a lower rate, such as 115200, or a faster clock"
        )
    return divider


class Transmitter(wiring.Component):
    """Sends bytes on a pin, least significant bit first.

    Attributes
    ----------
    divider
        Clock cycles per bit.
    i : In(stream of 8 bits)
        Bytes to send; each is taken as soon as the one before has ended.
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
        # Ones are shifted in, so that the line is idle after the last bit.
        bits = Signal(BITS - 1, init=-1)
        left = Signal(range(BITS + 1))
        timer = Signal(range(self.divider))
        # Registered: the ready signal for the source of bytes depends on both.
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


class SerialReceiver(wiring.Component):
    """Receives bytes from a pin, least significant bit first; bytes without a stop bit are dropped.

    Attributes
    ----------
    divider
        Clock cycles per bit, 4 or more.
    rx : In(1)
        The pin; high when idle, asynchronous.
    valid : Out(1)
        Pulse: a byte has come, in the middle of its stop bit.
    byte : Out(8)
        The byte; held until the next one's first bit.
    """

    def __init__(self, divider: int):
        if divider < LEAST_DIVIDER:
            raise ValueError(f"divider is {divider}, but it has to be at least {LEAST_DIVIDER}")
        self.divider = divider
        super().__init__({"rx": In(1, init=1), "valid": Out(1), "byte": Out(8)})

    def elaborate(self, platform):
        m = Module()
        level = Signal(init=1)
        m.submodules.synchroniser = FFSynchronizer(self.rx, level, init=1)
        timer = Signal(range(self.divider))
        bits = Signal(range(BITS))
        m.d.sync += [self.valid.eq(0), timer.eq(timer - 1)]
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [timer.eq(self.divider // 2 - 1), bits.eq(BITS - 1)]
                with m.If(~level):
                    m.next = "BITS"
            with m.State("BITS"), m.If(timer == 0):
                m.d.sync += [timer.eq(self.divider - 1), bits.eq(bits - 1)]
                with m.If((bits == BITS - 1) & level):
                    # Too short for a start bit.
                    m.next = "IDLE"
                with m.Elif(bits == 0):
                    m.d.sync += self.valid.eq(level)
                    m.next = "STOP"
                with m.Elif(bits != BITS - 1):
                    m.d.sync += self.byte.eq(Cat(self.byte[1:], level))
            with m.State("STOP"), m.If(level):
                # After a break the line has to go idle first.
                m.next = "IDLE"
        return m
