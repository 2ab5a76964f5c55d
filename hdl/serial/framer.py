"""Bytes of frames to be sent."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.crc.catalog import CRC16_X25
from amaranth.lib.wiring import In, Out

from gptloom.firmware.protocol import CRC_BYTES, ESCAPE, FLAG, FLIP, HEADER


class Header(data.Struct):
    """What a frame begins with, see :class:`gptloom.firmware.protocol.Frame`."""

    code: unsigned(8)
    sequence: unsigned(8)
    argument: unsigned(32)


class Framer(wiring.Component):
    """Sends frames. Most have no data: what the chip has to say fits the argument.

    Parameters
    ----------
    data
        Whether any has.

    Attributes
    ----------
    start : In(1)
        Begin, while not `busy`.
    i : In(Header)
        What to send, from the cycle after `start` on until `done`; with data, until the first
        `step`.
    more, data, step : In(1), In(8), Out(1)
        A byte of data is left, before the CRC; the byte; it is taken. The next one is
        needed 3 cycles later at the soonest.
    busy : Out(1)
        A frame is under way, from the cycle after `start` on.
    done : Out(1)
        For one cycle, the last one of `busy`: the closing flag is taken.
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
        # The byte is one of the data, which stand before the CRC.
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
