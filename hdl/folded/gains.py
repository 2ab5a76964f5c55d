"""Gains of the last norm's elements, where no matrix contains them."""

from collections.abc import Sequence

from amaranth.hdl import Module, Mux, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from gptloom.firmware.machine import Machine
from gptloom.firmware.regions import GAIN_BYTES, Region, table_bytes, table_words
from gptloom.hdl.arithmetic import quotient
from gptloom.hdl.folded.table import Table


class Gains(wiring.Component):
    """A gain for every element of the residual stream, as many a word as are written in a cycle.

    Attributes
    ----------
    table
        Two bytes a gain (:class:`.Table`).
    address : In
        Word to read; `elements` follow one cycle later.
    elements : Out
        Gains, as wide as weights.
    reading, read_address : In
        Between documents: read the word of a byte address instead.
    """

    def __init__(self, machine: Machine, init: Sequence[int] = ()):
        self._bits, self._bytes = machine.precision.weights, table_bytes(machine)[Region.GAINS]
        words = table_words(machine)[Region.GAINS]
        self.table = Table(words, self._bytes, init)
        super().__init__(
            {
                "address": In(range(words)),
                "elements": Out(data.ArrayLayout(signed(self._bits), machine.writers)),
                "reading": In(1),
                "read_address": In(range(words * self._bytes)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.table = table = self.table
        read = quotient(self.read_address, self._bytes)
        m.d.comb += table.address.eq(Mux(self.reading, read, self.address))
        for i, element in enumerate(self.elements):
            m.d.comb += element.eq(table.word.word_select(i, 8 * GAIN_BYTES)[: self._bits])
        return m
