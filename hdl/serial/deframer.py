"""Frames from bytes, decoded as :class:`gptloom.firmware.protocol.Receiver` does."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.crc.catalog import CRC16_X25
from amaranth.lib.wiring import In, Out

from gptloom.firmware.protocol import ESCAPE, FLAG, FLIP, HEADER, LEAST_BODY, LONGEST_BODY


class Deframer(wiring.Component):
    """Removes flags, escapes and the CRC, and keeps the header.

    Data is passed on as it comes, before it is known whether the frame is intact: the receiver of
    the data must not use it before `good`.

    Attributes
    ----------
    valid, byte : In(1), In(8)
        A byte from the line, at most one every 10 cycles.
    hold : In(1)
        The last frame is still needed: bytes are dropped, and so are later ones up to a flag.
    begin : Out(1)
        Pulse: the data that follows belongs to a new frame.
    data_valid, data : Out(1), Out(8)
        A byte after the header; the last two are the CRC.
    arrived : Out(1)
        Pulse: a frame has ended.
    good : Out(1)
        The frame is intact; valid, like the header, from `arrived` until the next frame begins.
    code, sequence, argument : Out(8), Out(8), Out(32)
        Header of the frame.
    length : Out(7)
        Bytes in its body.
    set, value : In(1), In(32)
        Store a number in place of `argument`.
    text : Out(1)
        Pulse: a byte came that belongs to no frame.
    """

    def __init__(self):
        super().__init__(
            {
                "valid": In(1),
                "byte": In(8),
                "hold": In(1),
                "begin": Out(1),
                "data_valid": Out(1),
                "data": Out(8),
                "arrived": Out(1),
                "good": Out(1),
                "code": Out(8),
                "sequence": Out(8),
                "argument": Out(32),
                "length": Out(range(LONGEST_BODY + 1)),
                "set": In(1),
                "value": In(32),
                "text": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.crc = crc = CRC16_X25().create()
        inside, escaped, lost, whole = Signal(), Signal(), Signal(), Signal()
        length = self.length
        header = Cat(self.code, self.sequence, self.argument)
        m.d.comb += [
            crc.data.eq(Mux(escaped, self.byte ^ FLIP, self.byte)),
            crc.start.eq(self.begin),
            self.data.eq(crc.data),
            self.data_valid.eq(crc.valid & (length >= HEADER.size)),
        ]
        m.d.sync += [self.arrived.eq(0), whole.eq(crc.match_detected)]
        with m.If(self.set):
            m.d.sync += self.argument.eq(self.value)
        with m.If(self.hold):
            m.d.sync += inside.eq(0)
            with m.If(self.valid):
                m.d.sync += lost.eq(1)
        with m.Elif(self.valid):
            with m.If(self.byte == FLAG):
                m.d.sync += [escaped.eq(0), lost.eq(0)]
                with m.If(inside & (length != 0)):
                    m.d.sync += [
                        inside.eq(0),
                        self.arrived.eq(1),
                        self.good.eq(whole & (length >= LEAST_BODY)),
                    ]
                with m.Else():
                    m.d.comb += self.begin.eq(1)
                    m.d.sync += [inside.eq(1), length.eq(0)]
            with m.Elif(~inside):
                m.d.comb += self.text.eq(~lost)
            with m.Elif(self.byte == ESCAPE):
                m.d.sync += escaped.eq(1)
            with m.Else():
                m.d.comb += crc.valid.eq(1)
                m.d.sync += [escaped.eq(0), length.eq(length + 1)]
                with m.If(length < HEADER.size):
                    m.d.sync += header.eq(Cat(header[8:], crc.data))
                with m.If(length == LONGEST_BODY):
                    # Not a frame: its flag was lost, or there never was one.
                    m.d.sync += inside.eq(0)
        return m
