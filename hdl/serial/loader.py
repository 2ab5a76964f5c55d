"""Passes over all bytes of an image: staged, while copied into the core, and in the core."""

from collections.abc import Mapping

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import enum, stream, wiring
from amaranth.lib.wiring import In, Out

from gptloom.firmware.regions import CHECKED, COMMON, Region
from gptloom.hdl.checksum import Checksum
from gptloom.hdl.core import Address, Write


class Pass(enum.Enum, shape=2):
    """Kind of a pass over the bytes, each of which also computes their CRC-32."""

    WEIGHTS = 0
    """Reads the memories that the core computes with, and no more."""
    STAGED = 1
    """Reads the staged image."""
    COPY = 2
    """Reads the staged image and writes it into the core."""
    LIVE = 3
    """Reads the core, and the staged image for the parts not readable there: page, settings."""


class Loader(wiring.Component):
    """Passes over the bytes of an image, some 13 cycles each.

    Attributes
    ----------
    start : In(1)
        Begin; the staged image's first byte has already been read.
    kind : In(Pass)
        Kind of pass; held until it is done.
    busy, crc : Out(1), Out(32)
        See :class:`.Checksum`.
    staged : In(8)
        Byte of the staged image, two cycles after `step`.
    step : Out(1)
        Go to the next byte; never for `WEIGHTS`.
    load, read, read_data
        Ports of the core, see :class:`.CoreSignature`; it is idle during `COPY` and all passes that
        read it.
    page_write : Out(1)
        The byte taken by `load` belongs to the page.
    """

    def __init__(self, sizes: Mapping[Region, int]):
        self._sizes = sizes
        super().__init__(
            {
                "start": In(1),
                "kind": In(Pass),
                "busy": Out(1),
                "crc": Out(32),
                "staged": In(8),
                "step": Out(1),
                "load": Out(stream.Signature(Write)),
                "read": Out(stream.Signature(Address)),
                "read_data": In(8),
                "page_write": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.checksum = checksum = Checksum(self._sizes)
        # They come first, before page and settings.
        wanted, checked = checksum.read, set(CHECKED) & set(COMMON)
        live, copy = Signal(), Signal()
        m.d.comb += [
            checksum.start.eq(self.start),
            checksum.whole.eq(self.kind != Pass.WEIGHTS),
            self.busy.eq(checksum.busy),
            self.crc.eq(checksum.crc),
            live.eq(
                (self.kind == Pass.WEIGHTS)
                | ((self.kind == Pass.LIVE) & (wanted.p.region <= max(checked)))
            ),
            copy.eq(self.kind == Pass.COPY),
            self.read.p.eq(wanted.p),
            self.read.valid.eq(wanted.valid & live),
            self.load.p.region.eq(wanted.p.region),
            self.load.p.address.eq(wanted.p.address),
            self.load.p.data.eq(self.staged),
            self.load.valid.eq(wanted.valid & copy),
            wanted.ready.eq(Mux(live, self.read.ready, Mux(copy, self.load.ready, 1))),
            checksum.read_data.eq(Mux(live, self.read_data, self.staged)),
            # Staged bytes that are read from the core instead are skipped.
            self.step.eq(wanted.valid & wanted.ready & (self.kind != Pass.WEIGHTS)),
            self.page_write.eq(copy & self.step & (wanted.p.region == Region.PAGE)),
        ]
        return m
