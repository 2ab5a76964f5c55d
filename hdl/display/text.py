"""The interface between the source of a text and the displays: two lines of 16 characters."""

from amaranth.hdl import Cat, Module, Signal, Value, unsigned
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from gptloom.hdl.attributes import BLOCK_RAM

LINES = 2
COLUMNS = 16

TEXT_LATENCY = 8
"""Maximum cycles from a change of address to the character, and from `begin` to a stable text."""


class TextSignature(wiring.Signature):
    """Characters fetched by a display as it needs them; directions as the display sees them.

    A display reads the whole text again and again, in refreshes. `begin` announces a refresh; from
    `TEXT_LATENCY` cycles later until the next `begin` the source answers from one and the same
    text. It therefore takes a new text only at `begin`, and only when it is complete; see
    :class:`TextBuffer`. While a refresh writes a text that differs from the last, which the source
    signals by `changed`, the display shows nothing: no mix of two texts is ever seen.

    Members
    -------
    begin : Out(1)
        For one cycle: a refresh begins.
    changed : In(1)
        The text of this refresh differs from the last one's.
    address : Out(5)
        Line (the upper bit) and column of a character.
    character : In(8)
        ASCII, 0x20 to 0x7E, or 0 for a blank; held until the address changes.
    """

    def __init__(self):
        super().__init__(
            {
                "begin": Out(1),
                "changed": In(1),
                "address": Out(range(LINES * COLUMNS)),
                "character": In(8),
            }
        )


def printable(character: Value) -> Value:
    """Return the 7 bits of a character, with a space for 0."""
    return Cat(character[:5], character[5] | ~character[6], character[6])


class TextBuffer(wiring.Component):
    """Double buffer in a block RAM: one text is shown while the other is written.

    Attributes
    ----------
    text : In(TextSignature)
        The display; characters follow their address one cycle later.
    free : Out(1)
        A text may be written: all 32 characters, in any order, over any time.
    write : In(1)
        Write a character, while `free`.
    write_address, write_data : In
        Line and column; the character.
    show : In(1)
        Pulse while `free`, not before the last character is written: the text is complete. It is
        shown from the next refresh on; `free` is low until then.
    """

    def __init__(self):
        super().__init__(
            {
                "text": In(TextSignature()),
                "free": Out(1, init=1),
                "write": In(1),
                "write_address": In(range(LINES * COLUMNS)),
                "write_data": In(8),
                "show": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        places = LINES * COLUMNS
        m.submodules.memory = memory = Memory(
            shape=unsigned(8), depth=2 * places, init=[0] * (2 * places), attrs=BLOCK_RAM
        )
        write, read = memory.write_port(), memory.read_port()
        shown = Signal()
        m.d.comb += [
            read.addr.eq(Cat(self.text.address, shown)),
            self.text.character.eq(read.data),
            write.addr.eq(Cat(self.write_address, ~shown)),
            write.data.eq(self.write_data),
            write.en.eq(self.write & self.free),
        ]
        with m.If(self.show):
            m.d.sync += self.free.eq(0)
        with m.If(self.text.begin):
            m.d.sync += self.text.changed.eq(~self.free)
            with m.If(~self.free):
                m.d.sync += [shown.eq(~shown), self.free.eq(1)]
        return m
