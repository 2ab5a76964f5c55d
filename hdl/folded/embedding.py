"""Token and position embedding, read and added."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gptloom.firmware.machine import Machine
from gptloom.firmware.regions import Region, table_words
from gptloom.hdl.arithmetic import quotient
from gptloom.hdl.delay import delayed
from gptloom.hdl.folded.layouts import EmbeddingBus
from gptloom.hdl.folded.table import Table
from gptloom.model.arithmetic import WEIGHT_BITS
from gptloom.model.positions import Positions


class Embedding(wiring.Component):
    """Sums of a token's and a position's embedding, `writers` elements a cycle.

    With ALiBi no position has an embedding: the token's is all.

    Attributes
    ----------
    latency
        From `start` to the first elements: 1 cycle, 2 in a deep machine.
    init_tokens, init_positions
        First words of the tables at power-on, `writers` bytes each; the others are 0.
    start : In(1)
        `token` and `position` are new.
    last_beat : In
        Beats of a row, less one.
    o : Out
        The sum.
    write_address, write_tokens, write_positions, write_data : In
        Load port: byte address (row, element), a strobe for each table, the byte.
    reading, read_address : In
        Between documents: read the words of a byte address instead.
    words : Out
        Words read from tokens and positions, in this order; from tokens only where there are no
        positions.
    """

    def __init__(
        self,
        machine: Machine,
        init_tokens: Sequence[int] = (),
        init_positions: Sequence[int] = (),
    ):
        self._machine = machine
        self.init_tokens, self.init_positions = init_tokens, init_positions
        self.latency = 1 + machine.deep
        self._adds_positions = machine.positions is Positions.LEARNED
        self._beats = machine.stream_elements // machine.writers
        rows = max(machine.vocabulary, machine.context)
        super().__init__(
            {
                "start": In(1),
                "token": In(range(machine.vocabulary)),
                "position": In(range(machine.context)),
                "last_beat": In(range(self._beats)),
                "o": Out(EmbeddingBus(machine)),
                "write_address": In(range(rows * machine.stream_elements)),
                "write_tokens": In(1),
                "write_positions": In(1),
                "write_data": In(8),
                "reading": In(1),
                "read_address": In(range(rows * machine.stream_elements)),
                "words": Out(8 * machine.writers).array(1 + self._adds_positions),
            }
        )

    def elaborate(self, platform):
        m = Module()
        machine = self._machine
        m.submodules.tokens = tokens = self._table(Region.TOKENS, self.init_tokens)
        tables = [(tokens, self.token, self.write_tokens)]
        if self._adds_positions:
            m.submodules.positions = positions = self._table(Region.POSITIONS, self.init_positions)
            tables.append((positions, self.position, self.write_positions))

        beat = Signal(range(self._beats))
        busy = Signal()
        active = self.start | busy
        ends = beat == self.last_beat
        read_word = quotient(self.read_address, machine.writers)
        for (table, row, strobe), word in zip(tables, self.words, strict=True):
            m.d.comb += [
                table.address.eq(Mux(self.reading, read_word, Cat(beat, row))),
                table.write_address.eq(self.write_address),
                table.write_data.eq(self.write_data),
                table.write_enable.eq(strobe),
                word.eq(table.word),
            ]
        with m.If(active):
            m.d.sync += [busy.eq(~ends), beat.eq(Mux(ends, 0, beat + 1))]
        m.d.comb += [
            self.o.valid.eq(delayed(m, active, self.latency)),
            self.o.index.eq(delayed(m, beat, self.latency) * machine.writers),
            self.o.last.eq(delayed(m, ends, self.latency)),
        ]
        words = [delayed(m, table.word, machine.deep) for table, *_ in tables]
        for i, element in enumerate(self.o.elements):
            parts = (word.word_select(i, WEIGHT_BITS).as_signed() for word in words)
            m.d.comb += element.eq(sum(parts))
        return m

    def _table(self, region: Region, init: Sequence[int]) -> Table:
        return Table(table_words(self._machine)[region], self._machine.writers, init)
