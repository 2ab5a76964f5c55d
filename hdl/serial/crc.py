"""CRC-16 of a frame, a bit a cycle."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gptloom.firmware.protocol import POLYNOMIAL, RESIDUE


class Crc16(wiring.Component):
    """Divides bytes as they come; see :func:`.crc16`.

    Attributes
    ----------
    latency
        From a byte to its remainder, cycles in which no other byte may come: 9.
    start : In(1)
        Begin a frame.
    valid, byte : In(1), In(8)
        A byte, not while `busy`.
    busy : Out(1)
        `remainder` is not complete.
    remainder : Out(16)
        Of all bytes since `start`.
    whole : Out(1)
        The bytes end with their own CRC; a cycle later than `remainder`.
    """

    latency = 9

    def __init__(self):
        super().__init__(
            {
                "start": In(1),
                "valid": In(1),
                "byte": In(8),
                "busy": Out(1),
                "remainder": Out(16),
                "whole": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        # A one for each bit that is left.
        left = Signal(8)
        m.d.comb += self.busy.eq(left[0])
        m.d.sync += [self.whole.eq(self.remainder == RESIDUE), left.eq(left >> 1)]
        with m.If(left[0]):
            odd = self.remainder[0]
            m.d.sync += self.remainder.eq((self.remainder >> 1) ^ Mux(odd, POLYNOMIAL, 0))
        with m.If(self.valid):
            m.d.sync += [
                self.remainder.eq(
                    Cat(self.remainder[:8] ^ self.byte, self.remainder[8:]),
                ),
                left.eq(-1),
            ]
        with m.If(self.start):
            m.d.sync += [self.remainder.eq(-1), left.eq(0)]
        return m
