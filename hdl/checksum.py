"""CRC-32 of a core's memories, as it stands in them now."""

from collections.abc import Sequence

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from gptloom.firmware.image import CHECKED, Region
from gptloom.hdl.core import Address

POLYNOMIAL = 0xEDB88320
"""CRC-32 of IEEE 802.3, least significant bit first, as zlib computes it."""


class Checksum(wiring.Component):
    """Reads everything that a core computes with, byte by byte, into a CRC.

    Equals :meth:`.Image.checksum`; takes some 13 cycles a byte.

    Attributes
    ----------
    sizes
        Bytes of each region of ``CHECKED``, in its order; or of all regions.
    start : In(1)
        Begin.
    whole : In(1)
        Do not end after ``CHECKED``; only where `sizes` has all regions.
    busy : Out(1)
        High until `crc` is complete, from the cycle after `start`.
    crc : Out(32)
        Of what was read since `start`.
    read, read_data : Out(stream of Address), In(8)
        See :class:`.CoreSignature`.
    """

    def __init__(self, sizes: Sequence[int]):
        if len(sizes) not in (len(CHECKED), len(Region)):
            raise ValueError(f"sizes are {len(sizes)}, not those of {len(CHECKED)} or all regions")
        self.sizes = sizes
        super().__init__(
            {
                "start": In(1),
                "whole": In(1),
                "busy": Out(1),
                "crc": Out(32),
                "read": Out(stream.Signature(Address)),
                "read_data": In(8),
            }
        )

    def elaborate(self, platform):
        m = Module()
        number = Signal(range(len(self.sizes)))
        at = Signal(range(max(self.sizes)))
        last = Signal.like(at)
        at_last, at_end = Signal(), Signal()
        bits = Signal(8)
        left = Signal(range(8))
        remainder = Signal(32)
        m.d.comb += [
            self.crc.eq(~remainder),
            last.eq(Array(size - 1 for size in self.sizes)[number]),
            self.read.p.region.eq(Array(sorted(Region)[: len(self.sizes)])[number]),
            self.read.p.address.eq(at),
        ]
        end = len(CHECKED) - 1
        if len(self.sizes) > len(CHECKED):
            end = Mux(self.whole, len(self.sizes) - 1, end)
        # An address stays for many cycles: there is time to compare before it is left.
        m.d.sync += [at_last.eq(at == last), at_end.eq(number == end)]
        with m.FSM():
            with m.State("IDLE"), m.If(self.start):
                m.d.sync += [number.eq(0), at.eq(0), remainder.eq(-1), self.busy.eq(1)]
                m.next = "READ"
            with m.State("READ"):
                m.d.comb += self.read.valid.eq(1)
                m.d.sync += [bits.eq(self.read_data), left.eq(7)]
                with m.If(self.read.ready):
                    m.next = "DIVIDE"
            with m.State("DIVIDE"):
                odd = remainder[0] ^ bits[0]
                m.d.sync += [
                    remainder.eq((remainder >> 1) ^ Mux(odd, POLYNOMIAL, 0)),
                    bits.eq(bits >> 1),
                    left.eq(left - 1),
                ]
                with m.If(left == 0):
                    m.d.sync += at.eq(at + 1)
                    m.next = "READ"
                    with m.If(at_last):
                        m.d.sync += [at.eq(0), number.eq(number + 1)]
                        with m.If(at_end):
                            m.d.sync += self.busy.eq(0)
                            m.next = "IDLE"
        return m
