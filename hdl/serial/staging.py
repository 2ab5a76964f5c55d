"""Memory in which a new image is collected until it is complete."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from gptloom.firmware.protocol import CRC_BYTES, LONGEST_DATA
from gptloom.hdl.attributes import BLOCK_RAM


class Staging(wiring.Component):
    """A memory that is written and read sequentially, byte by byte.

    The data of every frame is appended to the bytes received before, and counts only once the frame
    is known to be intact: a damaged frame leaves no trace.

    Parameters
    ----------
    size
        Bytes in an upload.

    Attributes
    ----------
    received : Out
        Number of bytes that count.
    complete : Out(1)
        All bytes are received; a cycle after `received`.
    discard : In(1)
        Start over, with no bytes.
    to_start, to_end : In(1)
        Go to the first byte; go to the end of the bytes that count.
    step : In(1)
        Go to the next byte.
    write, write_data : In(1), In(8)
        Write a byte at the present place and go to the next; not within two cycles after a move.
    claim : In(1)
        Count all bytes up to here, less a frame's CRC, if that is not more than an upload.
    read_data : Out(8)
        Byte at the present place, two cycles after a move.
    """

    def __init__(self, size: int):
        if size < 1:
            raise ValueError(f"size is {size}, but an upload has at least 1 byte")
        self.size = size
        # One past the last byte that a frame can write: addresses never wrap.
        self._depth = 1 << (size + LONGEST_DATA + CRC_BYTES).bit_length()
        super().__init__(
            {
                "received": Out(range(size + 1)),
                "complete": Out(1),
                "discard": In(1),
                "to_start": In(1),
                "to_end": In(1),
                "step": In(1),
                "write": In(1),
                "write_data": In(8),
                "claim": In(1),
                "read_data": Out(8),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = Memory(
            shape=unsigned(8),
            depth=self._depth,
            init=[],
            attrs=BLOCK_RAM,
        )
        write, read = memory.write_port(), memory.read_port()
        place = Signal(range(self._depth))
        # One address: reads and writes never coincide.
        m.d.comb += [
            write.addr.eq(place),
            write.data.eq(self.write_data),
            write.en.eq(self.write),
            read.addr.eq(place),
            read.en.eq(~self.write),
            self.read_data.eq(read.data),
        ]
        with m.If(self.step | self.write):
            m.d.sync += place.eq(place + 1)
        with m.If(self.to_start | self.to_end):
            m.d.sync += place.eq(Mux(self.to_end, self.received, 0))
        fits = Signal()
        m.d.sync += [
            fits.eq(place <= self.size + CRC_BYTES),
            self.complete.eq(self.received == self.size),
        ]
        with m.If(self.claim & fits):
            m.d.sync += self.received.eq(place - CRC_BYTES)
        with m.If(self.discard):
            m.d.sync += self.received.eq(0)
        return m
