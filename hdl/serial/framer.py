"""Bytes of outgoing frames."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.crc.catalog import CRC16_X25
from amaranth.lib.wiring import In, Out

from gptloom.firmware.protocol import CRC_BYTES, ESCAPE, FLAG, FLIP, HEADER


class Header(data.Struct):
    """Header of a frame, see :class:`gptloom.firmware.protocol.Frame`."""

    code: unsigned(8)
    sequence: unsigned(8)
    argument: unsigned(32)


class Framer(wiring.Component):
    """Sends frames. Most have no data: the chip's answer fits the argument.

    Parameters
    ----------
    data
        Whether any frame has data.

    Attributes
    ----------
    start : In(1)
        Begin a frame, while not `busy`.
    i : In(Header)
        Header to send, held from the cycle after `start` until `done`; with data, until the first
        `step`.
    more, data, step : In(1), In(8), Out(1)
        Data bytes are left, before the CRC; the next byte; it is taken. The one after it is needed
        at least 3 cycles later.
    busy : Out(1)
        A frame is being sent, from the cycle after `start` on.
    done : Out(1)
        Pulse in the last cycle of `busy`: the closing flag is taken.
    o : Out(stream of 8 bits)
        Bytes of the line.
    """

    def __init__(self, data: bool = False):
        self._data = data
        super().__init__(
            {
                "start": In(1),
                "i": In(Header),
                "more": In(1),
                "data": In(8),
                "step": Out(1),
                "busy": Out(1),
                "done": Out(1),
                "o": Out(stream.Signature(unsigned(8))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.crc = crc = CRC16_X25().create()
        body = HEADER.size + CRC_BYTES
        at = Signal(range(body))
        byte, special = Signal(8), Signal()
        # The byte is data, which comes before the CRC.
        between = Signal()
        bits = Cat(self.i, crc.crc)
        m.d.comb += [crc.start.eq(self.start), crc.data.eq(byte)]
        with m.FSM() as fsm:
            m.d.comb += self.busy.eq(~fsm.ongoing("IDLE"))
            with m.State("IDLE"):
                m.d.sync += at.eq(0)
                with m.If(self.start):
                    m.next = "OPEN"
            with m.State("OPEN"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(FLAG)]
                with m.If(self.o.ready):
                    m.next = "PICK"
            with m.State("PICK"):
                places = Array(bits.word_select(i, 8) for i in range(body))
                m.d.sync += byte.eq(places[at])
                if self._data:
                    m.d.sync += between.eq(0)
                    with m.If(self.more & (at == HEADER.size)):
                        m.d.sync += [between.eq(1), byte.eq(self.data)]
                m.next = "DIVIDE"
            with m.State("DIVIDE"):
                m.d.comb += [crc.valid.eq((at < HEADER.size) | between), self.step.eq(between)]
                m.d.sync += special.eq((byte == FLAG) | (byte == ESCAPE))
                m.next = "ESCAPE"
            with m.State("ESCAPE"):
                m.d.comb += [self.o.valid.eq(special), self.o.payload.eq(ESCAPE)]
                with m.If(~special | self.o.ready):
                    m.next = "SEND"
            with m.State("SEND"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(Mux(special, byte ^ FLIP, byte))]
                with m.If(self.o.ready):
                    m.d.sync += at.eq(at + ~between)
                    m.next = "PICK"
                    with m.If(at == body - 1):
                        m.next = "CLOSE"
            with m.State("CLOSE"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(FLAG)]
                with m.If(self.o.ready):
                    m.d.comb += self.done.eq(1)
                    m.next = "IDLE"
        return m
