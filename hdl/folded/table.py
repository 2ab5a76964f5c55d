"""A table that is loaded byte by byte and read word by word."""

from collections.abc import Sequence

from amaranth.hdl import Const, Module, Mux, unsigned
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from gptloom.hdl.arithmetic import quotient, remainder
from gptloom.hdl.attributes import BLOCK_RAM, NO_COLLISION


class Table(wiring.Component):
    """Words of some bytes, a power of two.

    Attributes
    ----------
    init
        First words at power-on; the others are 0.
    address : In
        Word to read; `word` follows one cycle later.
    word : Out
        Its bytes, the first one lowest.
    write_address, write_enable, write_data : In
        Byte address, strobe, byte.
    """

    def __init__(self, words: int, word_bytes: int, init: Sequence[int] = ()):
        self._words, self._bytes = words, word_bytes
        self.init = init
        super().__init__(
            {
                "address": In(range(words)),
                "word": Out(8 * word_bytes),
                "write_address": In(range(words * word_bytes)),
                "write_enable": In(1),
                "write_data": In(8),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = Memory(
            shape=unsigned(8 * self._bytes),
            depth=self._words,
            init=self.init,
            attrs=BLOCK_RAM | NO_COLLISION,
        )
        read, write = memory.read_port(), memory.write_port(granularity=8)
        lane = remainder(self.write_address, self._bytes)
        m.d.comb += [
            read.addr.eq(self.address),
            self.word.eq(read.data),
            write.addr.eq(quotient(self.write_address, self._bytes)),
            write.data.eq(self.write_data.replicate(self._bytes)),
            write.en.eq(Mux(self.write_enable, Const(1, self._bytes) << lane, 0)),
        ]
        return m
