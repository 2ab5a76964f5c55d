"""The chip's text output: an endless list of names, their speed, the memories' checksum."""

from collections.abc import Sequence

from amaranth.hdl import Array, Cat, Module, Mux, Signal, unsigned
from amaranth.lib import enum, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from gptloom.firmware.page import (
    DIGITS_AT,
    LABEL,
    LABEL_AT,
    LINE_END,
    PAGE_BYTES,
    SCALE_BYTES,
    SCALES,
    TEMPERATURE_TEXTS,
    TEMPERATURES,
    TEXT_BYTES,
    TEXTS_AT,
    UNIT,
    UNIT_AT,
)
from gptloom.hdl.attributes import BLOCK_RAM
from gptloom.hdl.core import Token
from gptloom.hdl.folded.layouts import Temperature
from gptloom.hdl.speed import DIGITS

TOKENS_AT = 1 << (PAGE_BYTES - 1).bit_length()
"""Address of two buffers of tokens: the core fills one while the other is sent."""

NUMBER_DIGITS = 8
"""Digits of a checksum, and of a speed with a leading zero."""


class Part(enum.Enum, shape=3):
    """Part of a line being sent, in order."""

    LABEL = 0
    NUMBER = 1
    NAME = 2
    END = 3
    TEMPERATURE = 4


class Console(wiring.Component):
    """Tokens in, lines of text out, without ever stalling the core.

    At power-on, and on request, it lets the core finish its document, has the checksum computed and
    sends it (``weights 1A2B3C4D``). Then it sends names: while one is sent the core generates
    dozens, and a name that ends meanwhile is dropped. Without a display it sends the speed
    (``244402 tokens/s``) and the temperature (``temperature 1.0``) as well. Lines end with CR LF.

    Parameters
    ----------
    page
        Initial contents of the console's memory, see :func:`.encode_page`.
    bos
        The token that ends a document and is not a character.
    context
        Positions in a document.
    temperatures
        Number of the page's temperatures to step through.
    mirror
        Send the speed whenever there is a new one, and the temperature whenever it was changed.
    endless
        Documents may be longer than the context; only their beginning is sent, one token less than
        the context has.

    Attributes
    ----------
    i : In(stream of Token)
        Sampled tokens; always ready.
    o : Out(stream of 8 bits)
        Characters.
    ask, turn : In(1)
        Pulses: send the checksum; take the next temperature.
    run : Out(1)
        Documents may begin.
    temperature : Out(Temperature)
        Temperature of the core; it changes while documents run.
    check : Out(1)
        Start the checksum.
    checking, crc : In
        The checksum is being computed; its value.
    line : Out(1)
        A line is being sent.
    quiet : In(1)
        Do not begin a line.
    page_write, page_address, page_data : In(1), In, In(8)
        Bytes of a new page; the core is idle meanwhile.
    number : Out
        Number of the present temperature on the page; `temperatures` if it is not one of them.
    set, scale : In(1), In(Temperature)
        Pulse: take this temperature.
    restart : In(1)
        Pulse: take the first temperature and send the checksum, as from power-on.
    tell, speed : In(1), In
        Pulse: send this number of tokens per second, in decimal digits as from :class:`.Speed`.
    """

    def __init__(
        self,
        page: Sequence[int],
        bos: int,
        context: int,
        temperatures: int = len(TEMPERATURES),
        *,
        mirror: bool = False,
        endless: bool = False,
    ):
        self._page, self._bos, self._context = page, bos, context
        self._endless = endless
        self._temperatures, self._mirror = temperatures, mirror
        super().__init__(
            {
                "i": In(stream.Signature(Token)),
                "o": Out(stream.Signature(unsigned(8))),
                "ask": In(1),
                "turn": In(1),
                "run": Out(1),
                "temperature": Out(Temperature),
                "check": Out(1),
                "checking": In(1),
                "crc": In(32),
                "line": Out(1),
                "quiet": In(1),
                "page_write": In(1),
                "page_address": In(range(TOKENS_AT)),
                "page_data": In(8),
                "number": Out(range(temperatures + 1)),
                "set": In(1),
                "scale": In(Temperature),
                "restart": In(1),
                "tell": In(1),
                "speed": In(4).array(DIGITS),
            }
        )

    def elaborate(self, platform):
        m = Module()
        place_bits = (self._context - 1).bit_length()
        tokens_at = max(TOKENS_AT, 2 << place_bits)
        m.submodules.memory = memory = Memory(
            shape=unsigned(8),
            depth=tokens_at + (2 << place_bits),
            init=self._page,
            attrs=BLOCK_RAM,
        )
        write, read = memory.write_port(), memory.read_port()
        sent_half = Signal()
        token, place = self.i.p, Signal.like(self.i.p.position)
        m.d.comb += place.eq(token.position)
        if self._endless:
            # Tokens that do not fit go to a place that is never sent.
            with m.If(token.position >= self._context):
                m.d.comb += place.eq(self._context - 1)
        m.d.comb += [
            self.i.ready.eq(1),
            write.addr.eq(
                Mux(
                    self.page_write,
                    self.page_address,
                    tokens_at | Cat(place[:place_bits], ~sent_half),
                )
            ),
            write.data.eq(Mux(self.page_write, self.page_data, token.token)),
            write.en.eq(self.i.valid | self.page_write),
        ]

        asked, turned = Signal(init=1, name="asked"), Signal(init=1, name="turned")
        with m.If(self.ask):
            m.d.sync += asked.eq(1)
        with m.If(self.turn):
            m.d.sync += turned.eq(1)
        told = Signal()
        decimal, leading = Signal(name="decimal"), Signal(name="leading")
        if self._mirror:
            with m.If(self.tell):
                m.d.sync += told.eq(1)
        step = Signal(range(self._temperatures), init=self._temperatures - 1)
        turning = Signal()
        # Block RAM is too slow to be used in the cycle in which it is read.
        low = Signal(8)
        part = Signal(Part)
        longest = max(self._context, len(LABEL), NUMBER_DIGITS, len(UNIT + LINE_END))
        at, length = Signal(range(longest + 1)), Signal(range(longest + 1))
        digits = Signal(4 * NUMBER_DIGITS)
        m.d.comb += [self.o.payload.eq(read.data), read.en.eq(0)]
        m.d.sync += self.run.eq(~asked)

        with m.FSM() as fsm:
            m.d.comb += self.line.eq(
                fsm.ongoing("FETCH")
                | fsm.ongoing("TOKEN")
                | fsm.ongoing("CHARACTER")
                | fsm.ongoing("SEND")
            )
            with m.State("IDLE"):
                m.d.sync += at.eq(0)
                if self._mirror:
                    m.d.sync += [decimal.eq(0), leading.eq(0)]
                with m.If(turned):
                    m.d.sync += [
                        turned.eq(0),
                        turning.eq(1),
                        step.eq(Mux(step == self._temperatures - 1, 0, step + 1)),
                    ]
                    m.next = "SCALE LOW"
                with m.Elif(asked):
                    m.d.comb += self.check.eq(1)
                    m.next = "CHECK"
                if self._mirror:
                    with m.Elif(told):
                        m.d.sync += [told.eq(0), decimal.eq(1), leading.eq(1)]
                        m.next = "SPEED"
                with m.Elif(self.i.valid & token.last & ~self.quiet):
                    m.d.sync += [
                        sent_half.eq(~sent_half),
                        length.eq(place + (token.token != self._bos)),
                        part.eq(Part.NAME),
                    ]
                    m.next = "FETCH"
            with m.State("SCALE LOW"):
                m.d.comb += [read.addr.eq(SCALES + SCALE_BYTES * step), read.en.eq(1)]
                m.next = "SCALE HIGH"
            with m.State("SCALE HIGH"):
                m.d.comb += [read.addr.eq(SCALES + SCALE_BYTES * step + 1), read.en.eq(1)]
                m.d.sync += low.eq(read.data)
                m.next = "SCALE"
            with m.State("SCALE"):
                with m.If(turning):
                    m.d.sync += [
                        self.temperature.as_value().eq(Cat(low, read.data)),
                        self.number.eq(step),
                    ]
                m.next = "IDLE"
                if self._mirror:
                    m.d.sync += [
                        part.eq(Part.TEMPERATURE),
                        length.eq(len(TEMPERATURE_TEXTS[0])),
                    ]
                    # At power-on the temperature has not been changed.
                    with m.If(~asked):
                        m.next = "QUIET"
            with m.State("CHECK"):
                m.d.sync += [digits.eq(self.crc), part.eq(Part.LABEL), length.eq(len(LABEL))]
                with m.If(~self.checking):
                    m.d.sync += asked.eq(0)
                    m.next = "QUIET"
            if self._mirror:
                with m.State("SPEED"):
                    m.d.sync += [
                        digits.eq(Cat(self.speed)),
                        part.eq(Part.NUMBER),
                        length.eq(NUMBER_DIGITS),
                    ]
                    m.next = "QUIET"
            with m.State("QUIET"), m.If(~self.quiet):
                m.next = "FETCH"
            with m.State("FETCH"):
                addresses = {
                    Part.LABEL: LABEL_AT + at,
                    Part.NUMBER: DIGITS_AT + digits[-4:],
                    Part.NAME: tokens_at | Cat(at[:place_bits], sent_half),
                    Part.END: UNIT_AT + at,
                    Part.TEMPERATURE: TEXTS_AT + TEXT_BYTES * step + at,
                }
                m.d.comb += [read.addr.eq(Array(addresses[p] for p in Part)[part]), read.en.eq(1)]
                m.next = "SEND"
                with m.If(part == Part.NAME):
                    m.next = "TOKEN"
                with m.If(at == length):
                    # Only a speed has a unit.
                    m.d.sync += [
                        at.eq(Mux((part == Part.LABEL) | decimal, 0, len(UNIT))),
                        part.eq(Mux(part == Part.LABEL, Part.NUMBER, Part.END)),
                        length.eq(Mux(part == Part.LABEL, NUMBER_DIGITS, len(UNIT + LINE_END))),
                    ]
                    m.next = "FETCH"
                    with m.If(part == Part.END):
                        m.next = "IDLE"
                if self._mirror:
                    with m.Elif(leading & (digits[-4:] == 0) & (at != NUMBER_DIGITS - 1)):
                        m.d.sync += [at.eq(at + 1), digits.eq(digits << 4)]
                        m.next = "FETCH"
            with m.State("TOKEN"):
                m.d.sync += low.eq(read.data)
                m.next = "CHARACTER"
            with m.State("CHARACTER"):
                # The character of a token is at the address of its number.
                m.d.comb += [read.addr.eq(low), read.en.eq(1)]
                m.next = "SEND"
            with m.State("SEND"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.d.sync += at.eq(at + 1)
                    if self._mirror:
                        m.d.sync += leading.eq(0)
                    with m.If(part == Part.NUMBER):
                        m.d.sync += digits.eq(digits << 4)
                    m.next = "FETCH"
        # The host has precedence over a fetch from the page.
        with m.If(self.set):
            m.d.sync += [
                self.temperature.eq(self.scale),
                self.number.eq(self._temperatures),
                turned.eq(0),
                turning.eq(0),
            ]
        with m.If(self.restart):
            m.d.sync += [asked.eq(1), turned.eq(1), step.eq(self._temperatures - 1)]
        return m
