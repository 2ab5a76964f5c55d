"""CRC-32 of the present contents of a core's memories."""

from collections.abc import Mapping

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.wiring import In, Out

from gptloom.firmware.image import CHECKED, Region
from gptloom.hdl.core import Address


class Checksum(wiring.Component):
    """Computes the CRC of all memories that a core computes with, byte by byte.

    The result equals :meth:`.Image.checksum`; it takes some 13 cycles per byte.

    Attributes
    ----------
    sizes
        Bytes in each existing region: those of ``CHECKED``, or all.
    start : In(1)
        Begin.
    whole : In(1)
        Do not end after ``CHECKED``; only if `sizes` has other regions as well.
    busy : Out(1)
        High until `crc` is complete, from the cycle after `start`.
    crc : Out(32)
        CRC of the bytes read since `start`.
    read, read_data : Out(stream of Address), In(8)
        See :class:`.CoreSignature`.
    """

    def __init__(self, sizes: Mapping[Region, int]):
        self.sizes = dict(sorted(sizes.items()))
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
        at = Signal(range(max(self.sizes.values())))
        last = Signal.like(at)
        at_last, at_end = Signal(), Signal()
        bits = Signal(8)
        left = Signal(range(8))
        # Bit by bit takes 45 lookup tables fewer than byte by byte, and speed does not matter.
        m.submodules.divider = divider = CRC32_ISO_HDLC(1).create()
        m.d.comb += [
            divider.data.eq(bits[0]),
            self.crc.eq(divider.crc),
            last.eq(Array(size - 1 for size in self.sizes.values())[number]),
            self.read.p.region.eq(Array(self.sizes)[number]),
            self.read.p.address.eq(at),
        ]
        end = len(self.sizes.keys() & set(CHECKED)) - 1
        if len(self.sizes) > end + 1:
            end = Mux(self.whole, len(self.sizes) - 1, end)
        # An address holds for many cycles: there is time to compare it before it advances.
        m.d.sync += [at_last.eq(at == last), at_end.eq(number == end)]
        with m.FSM():
            with m.State("IDLE"), m.If(self.start):
                m.d.comb += divider.start.eq(1)
                m.d.sync += [number.eq(0), at.eq(0), self.busy.eq(1)]
                m.next = "READ"
            with m.State("READ"):
                m.d.comb += self.read.valid.eq(1)
                m.d.sync += [bits.eq(self.read_data), left.eq(7)]
                with m.If(self.read.ready):
                    m.next = "DIVIDE"
            with m.State("DIVIDE"):
                m.d.comb += divider.valid.eq(1)
                m.d.sync += [
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
