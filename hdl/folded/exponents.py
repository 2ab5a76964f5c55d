"""Exponents of matrices' rows: shifts that each result has beside its instruction's."""

from collections.abc import Sequence

from amaranth.hdl import Array, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from gptloom.firmware import isa
from gptloom.firmware.machine import EXPONENT_ROW_BITS, Machine
from gptloom.firmware.regions import Region, table_bytes, table_words
from gptloom.hdl.arithmetic import quotient, remainder
from gptloom.hdl.folded.layouts import Beat
from gptloom.hdl.folded.table import Table


class Exponents(wiring.Component):
    """Four bits for each row, in the order in which a token's program computes them.

    The rows of the embedding have theirs in a second table, by token.

    Attributes
    ----------
    rows, tokens
        The tables (:class:`.Table`); a byte has two exponents.
    start, token : In
        A token begins.
    i : In
        The drain's beat.
    o : Out
        Exponents of its results, in the same cycle.
    reading, read_address : In
        Between documents: read the words of a byte address instead.
    words : Out
        What is read of rows and tokens.
    """

    def __init__(
        self, machine: Machine, init_rows: Sequence[int] = (), init_tokens: Sequence[int] = ()
    ):
        self._machine = machine
        size, words = table_bytes(machine)[Region.EXPONENTS], table_words(machine)
        self.rows = Table(words[Region.EXPONENTS], size, init_rows)
        self.tokens = Table(words[Region.TOKENS], size, init_tokens)
        self._exponents = data.ArrayLayout(EXPONENT_ROW_BITS, machine.writers)
        widest = max(len(table.write_address) for table in (self.rows, self.tokens))
        super().__init__(
            {
                "start": In(1),
                "token": In(range(machine.vocabulary)),
                "i": In(Beat(machine)),
                "o": Out(self._exponents),
                "reading": In(1),
                "read_address": In(widest),
                "words": Out(8 * size).array(2),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.rows, m.submodules.tokens = rows, tokens = self.rows, self.tokens
        writers = self._machine.writers
        size = table_bytes(self._machine)[Region.EXPONENTS]
        which = self.i.instruction.exponents
        at, following = Signal.like(rows.address), Signal.like(rows.address)
        m.d.comb += [following.eq(at), tokens.address.eq(quotient(self.token, writers))]
        with m.If(self.start):
            m.d.comb += following.eq(0)
        with m.Elif(self.i.valid & (which == isa.Exponents.ROWS)):
            m.d.comb += following.eq(at + 1)
        m.d.sync += at.eq(following)
        m.d.comb += rows.address.eq(following)
        with m.If(self.reading):
            for table in (rows, tokens):
                m.d.comb += table.address.eq(quotient(self.read_address, size))
        m.d.comb += [word.eq(t.word) for word, t in zip(self.words, (rows, tokens), strict=True)]

        own = data.View(self._exponents, tokens.word)
        chosen = Array(own[i] for i in range(writers))[remainder(self.token, writers)]
        with m.Switch(which):
            with m.Case(isa.Exponents.ROWS):
                m.d.comb += self.o.eq(rows.word)
            with m.Case(isa.Exponents.TOKEN):
                m.d.comb += [exponent.eq(chosen) for exponent in self.o]
        return m
