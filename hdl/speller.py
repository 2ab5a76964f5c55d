"""Text as tokens come: what a chip writes whose documents are more than names."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Module, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from gptloom.firmware.page import INDEX_BYTES
from gptloom.hdl.attributes import BLOCK_RAM
from gptloom.hdl.core import TOKEN_BITS, Token


class Speller(wiring.Component):
    """Tokens in, their bytes of text out.

    Each takes some ten cycles more than its text has bytes. A document ends with the text of the
    token that ends it, whether that token comes or the context is full; a space at its beginning is
    left out.

    Parameters
    ----------
    text
        Index and text of a page, see :func:`.make_text_page`.
    bos
        The token that ends a document.

    Attributes
    ----------
    i : In(stream of Token)
        Sampled tokens.
    pace : In(1)
        A token may be taken; always, unless something drives it.
    o : Out(stream of 8 bits)
        Bytes.
    writing : Out(1)
        A document is being written.
    """

    def __init__(self, text: Sequence[int], bos: int):
        self._text, self._bos = text, bos
        super().__init__(
            {
                "i": In(stream.Signature(Token)),
                "pace": In(1, init=1),
                "o": Out(stream.Signature(unsigned(8))),
                "writing": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = Memory(
            shape=unsigned(8), depth=len(self._text), init=self._text, attrs=BLOCK_RAM
        )
        read = memory.read_port()
        token, last, ends = Signal(TOKEN_BITS), Signal(name="last"), Signal(name="ends")
        begins, blank = Signal(name="begins", init=1), Signal(name="blank")
        address, entries = Signal(range(len(self._text))), 2 * INDEX_BYTES
        # First and last address of the text, as soon as all bytes of two entries are shifted in.
        span = Signal(8 * entries)
        count = Signal(range(entries))
        m.d.comb += [read.addr.eq(address), read.en.eq(0), self.o.payload.eq(read.data)]
        m.d.sync += ends.eq(address == span[8 * INDEX_BYTES :])
        with m.FSM() as fsm:
            m.d.comb += self.writing.eq(~begins | ~fsm.ongoing("IDLE"))
            with m.State("IDLE"):
                m.d.comb += self.i.ready.eq(self.pace)
                m.d.sync += [token.eq(self.i.p.token), last.eq(self.i.p.last)]
                with m.If(self.i.valid & self.pace):
                    m.next = "FIND"
            with m.State("FIND"):
                m.d.sync += [address.eq(token * INDEX_BYTES), count.eq(0)]
                m.next = "ENTRY"
            with m.State("ENTRY"):
                m.d.comb += read.en.eq(1)
                m.d.sync += address.eq(address + 1)
                m.next = "SHIFT"
            with m.State("SHIFT"):
                m.d.sync += [span.eq(Cat(span[8:], read.data)), count.eq(count + 1)]
                m.next = "ENTRY"
                with m.If(count == entries - 1):
                    m.next = "TEXT"
            with m.State("TEXT"):
                m.d.sync += address.eq(span[: 8 * INDEX_BYTES])
                m.next = "COMPARE"
            with m.State("COMPARE"):
                m.next = "FETCH"
            with m.State("FETCH"):
                m.d.comb += read.en.eq(1)
                m.d.sync += address.eq(address + 1)
                m.next = "LOOK"
                with m.If(ends):
                    m.next = "IDLE"
                    with m.If(last):
                        m.d.sync += begins.eq(1)
                        with m.If(token != self._bos):
                            m.d.sync += token.eq(self._bos)
                            m.next = "FIND"
            with m.State("LOOK"):
                m.d.sync += [blank.eq(begins & (read.data == ord(" "))), begins.eq(0)]
                m.next = "SEND"
            with m.State("SEND"):
                m.d.comb += self.o.valid.eq(~blank)
                with m.If(blank | self.o.ready):
                    m.next = "FETCH"
        return m
