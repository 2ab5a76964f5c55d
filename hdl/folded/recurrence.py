"""Sums over everything that was, in the place of a KV cache: one layer with ALiBi."""

from collections.abc import Sequence

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from gptloom.firmware.latencies import update_cycles
from gptloom.firmware.machine import TABLE_BYTES, Machine
from gptloom.hdl.arithmetic import quotient, remainder
from gptloom.hdl.attributes import BLOCK_RAM, LOADED, NO_COLLISION
from gptloom.hdl.delay import delayed
from gptloom.hdl.folded.layouts import Scale, accumulator
from gptloom.hdl.folded.reciprocal import Reciprocal
from gptloom.hdl.multipliers import FabricMultiplier
from gptloom.model.arithmetic import WEIGHT_BITS
from gptloom.model.positions import slope_shifts
from gptloom.model.recurrent import StateWidths

BANK_WORDS = 512
"""Words of each of the table's memories: those of one block RAM, by whose contents a placed design
is searched for them (:mod:`.boards.contents`)."""

TABLE_BITS = 8 * TABLE_BYTES


class PairTable(wiring.Component):
    """Addends of each token to the sums of every query: a row of words for each token. Block RAM.

    A word has 16 bits for every head, the first one lowest. Word q of a row are the weights of
    query q; the last words of a row are the token's values, two elements each.

    Attributes
    ----------
    latency
        From `address` to `word`: 2 cycles.
    init
        First words at power-on; the others are 0.
    address, word : In, Out
        Row and word in it; what was read.
    write_address, write_enable, write_data : In
        Load port: byte address, strobe, byte.
    """

    latency = 2

    def __init__(self, machine: Machine, init: Sequence[int] = ()):
        self._machine, self.init = machine, init
        words = machine.position_words
        super().__init__(
            {
                "address": In(range(words)),
                "word": Out(TABLE_BITS * machine.heads),
                "write_address": In(range(words * machine.position_bytes)),
                "write_enable": In(1),
                "write_data": In(8),
            }
        )

    def elaborate(self, platform):
        m = Module()
        machine = self._machine
        bytes_, words = machine.position_bytes, machine.position_words
        lane = remainder(self.write_address, bytes_)
        written = quotient(self.write_address, bytes_)
        found = []
        for number, base in enumerate(range(0, words, BANK_WORDS)):
            memory = Memory(
                shape=unsigned(8 * bytes_),
                depth=min(BANK_WORDS, words - base),
                init=self.init[base : base + BANK_WORDS],
                attrs=BLOCK_RAM | NO_COLLISION,
            )
            m.submodules[f"bank_{number}"] = memory
            read, write = memory.read_port(), memory.write_port(granularity=8)
            here = self.write_enable & (quotient(written, BANK_WORDS) == number)
            m.d.comb += [
                read.addr.eq(remainder(self.address, BANK_WORDS)),
                write.addr.eq(remainder(written, BANK_WORDS)),
                write.data.eq(self.write_data.replicate(bytes_)),
                write.en.eq(Mux(here, Const(1, bytes_) << lane, 0)),
            ]
            found.append(read.data)
        bank = delayed(m, quotient(self.address, BANK_WORDS))
        m.d.sync += self.word.eq(Array(found)[bank])
        return m


class Recurrence(wiring.Component):
    """Sums of weights, and of values times weights, for every query and head.

    Equals :class:`gptloom.model.recurrent.RecurrentModel`. With a token all sums fade by their
    head's slope, and what the table has for the token is added: first those of the query that the
    token itself is, whose mix is wanted; then those of the others, while the program goes on.

    Attributes
    ----------
    start : In(1)
        A token begins; it stays until the next one.
    token, fresh : In
        Number of the token; nothing comes before it.
    busy : Out(1)
        Sums are being updated: the next token begins two cycles later at the earliest.
    index : In
        Element of the mix, heads interleaved, that is wanted in the next cycle.
    sums : Out
        Those from there on, `writers` of them.
    reciprocals : Out
        One over the sum of weights, by head. All of this is there ``Latencies.sums`` cycles after
        the start, and stays.
    write_address, write_enable, write_data, word : In, Out
        Load port of the :class:`PairTable`, and what it reads.
    reading, read_address : In
        Between documents: read the word of a byte address instead.
    """

    def __init__(self, machine: Machine, init: Sequence[int] = ()):
        self._machine, self.init = machine, init
        at = range(machine.position_words * machine.position_bytes)
        super().__init__(
            {
                "start": In(1),
                "token": In(range(machine.vocabulary)),
                "fresh": In(1),
                "busy": Out(1),
                "index": In(machine.row_bits),
                "sums": Out(accumulator(machine)).array(machine.writers),
                "reciprocals": Out(data.ArrayLayout(Scale, machine.heads)),
                "write_address": In(at),
                "write_enable": In(1),
                "write_data": In(8),
                "reading": In(1),
                "read_address": In(at),
                "word": Out(8 * machine.position_bytes),
            }
        )

    def elaborate(self, platform):
        m = Module()
        machine = self._machine
        widths = StateWidths()
        weight, value = unsigned(widths.weight_bits), signed(widths.value_bits)
        state = data.StructLayout(
            {"weight": weight, "values": data.ArrayLayout(value, machine.head_width)}
        )
        step, loading = self._steps(m)

        m.submodules.table = table = PairTable(machine, self.init)
        row = Cat(step.word, self.token)
        m.d.comb += [
            table.address.eq(
                Mux(self.reading, quotient(self.read_address, machine.position_bytes), row)
            ),
            table.write_address.eq(self.write_address),
            table.write_enable.eq(self.write_enable),
            table.write_data.eq(self.write_data),
            self.word.eq(table.word),
        ]
        m.submodules.states = states = Memory(
            shape=unsigned(machine.sum_bits),
            depth=machine.heads << exact_log2(machine.row_words),
            init=[],
            attrs=BLOCK_RAM | NO_COLLISION,
        )
        read, write = states.read_port(), states.write_port()
        m.d.comb += read.addr.eq(Cat(step.word, step.head))
        stages = [step]
        for _ in range(6):
            stages.append(delayed(m, stages[-1]))

        # In the third cycle of a step: what is added, and what was there.
        weight_added, factors = self._added(m, table.word, stages[2].head, delayed(m, loading, 2))
        clear = Signal()
        with m.If(self.start):
            m.d.sync += clear.eq(self.fresh)
        before = Signal(state)
        m.d.sync += before.eq(read.data)
        with m.If(clear):
            m.d.sync += before.eq(0)

        after = Signal(state)
        faded = self._faded(m, before.weight, stages[2].head)
        m.d.sync += after.weight.eq(delayed(m, faded) + delayed(m, weight_added, 2))
        for element, factor in enumerate(factors):
            multiplier = FabricMultiplier(signed(TABLE_BITS), signed(WEIGHT_BITS))
            m.submodules[f"multiplier_{element}"] = multiplier
            faded = self._faded(m, before["values"][element], stages[2].head)
            m.d.comb += [multiplier.a.eq(weight_added), multiplier.b.eq(factor)]
            m.d.sync += after["values"][element].eq(delayed(m, faded) + multiplier.o)
        last = stages[6]
        m.d.comb += [
            write.en.eq(last.valid),
            write.addr.eq(Cat(last.word, last.head)),
            write.data.eq(after),
        ]
        self._mix(m, after, last)
        return m

    def _steps(self, m: Module) -> tuple[Signal, Signal]:
        """Go through the token's values, then through all queries, each with all heads.

        Return the present step, and whether values are read in it.
        """
        machine = self._machine
        step = Signal(
            data.StructLayout(
                {
                    "valid": 1,
                    "own": 1,
                    "word": range(machine.row_words),
                    "head": range(max(2, machine.heads)),
                }
            )
        )
        loading, left = Signal(), Signal(range(machine.vocabulary))
        waits = Signal(range(update_cycles(machine)))
        m.d.comb += self.busy.eq(waits != 0)
        with m.If(waits != 0):
            m.d.sync += waits.eq(waits - 1)
        with m.If(self.start):
            m.d.sync += [
                loading.eq(1),
                waits.eq(update_cycles(machine) - 1),
                step.valid.eq(0),
                step.head.eq(0),
                step.word.eq(machine.row_words - machine.value_words),
            ]
        with m.Elif(loading):
            m.d.sync += step.word.eq(step.word + 1)
            with m.If(step.word == machine.row_words - 1):
                m.d.sync += [
                    loading.eq(0),
                    left.eq(machine.vocabulary - 1),
                    step.valid.eq(1),
                    step.own.eq(1),
                    step.word.eq(self.token),
                ]
        with m.Elif(step.valid):
            m.d.sync += step.head.eq(step.head + 1)
            with m.If(step.head == machine.heads - 1):
                m.d.sync += [
                    left.eq(left - 1),
                    step.valid.eq(left != 0),
                    step.own.eq(0),
                    step.head.eq(0),
                    step.word.eq(Mux(step.word == machine.vocabulary - 1, 0, step.word + 1)),
                ]
        return step, loading

    def _added(self, m: Module, word, head, values_read) -> tuple[Signal, list[Signal]]:
        """Return a step's weight and its head's values, a cycle after the table's word."""
        machine = self._machine
        lanes = [word.word_select(h, TABLE_BITS) for h in range(machine.heads)]
        kept = []
        for h, lane in enumerate(lanes):
            # Values come two by two, the first ones first.
            values = Signal(TABLE_BITS * machine.value_words, name=f"values_{h}", **LOADED)
            with m.If(values_read):
                m.d.sync += values.eq(Cat(values, lane)[TABLE_BITS:])
            kept.append(values)
        added = Signal(signed(TABLE_BITS), **LOADED)
        chosen = Signal(TABLE_BITS * machine.value_words, name="values", **LOADED)
        m.d.sync += [added.eq(Array(lanes)[head]), chosen.eq(Array(kept)[head])]
        factors = [
            chosen.word_select(i, WEIGHT_BITS).as_signed() for i in range(machine.head_width)
        ]
        return added, factors

    def _faded(self, m: Module, value: Signal, head) -> Signal:
        """Return a sum over two to the power of its head's slope, half up, two cycles later."""
        slopes = (1 << slope_shifts(self._machine.heads)).tolist()
        # The bit below the result is kept: adding it rounds half up.
        doubled, faded = Signal.like(value), Signal.like(value)
        m.d.sync += doubled.eq(Array(value >> slope - 1 for slope in slopes)[head])
        m.d.sync += faded.eq((doubled >> 1) + doubled[0])
        return faded

    def _mix(self, m: Module, after, step) -> None:
        """Keep the sums of the token's own query, and find one over those of its weights."""
        machine = self._machine
        own = step.valid & step.own
        m.submodules.reciprocal = reciprocal = Reciprocal(machine, len(after.weight))
        m.d.comb += [
            reciprocal.valid.eq(own),
            reciprocal.head.eq(step.head),
            reciprocal.totals[0].eq(after.weight),
            self.reciprocals.eq(reciprocal.reciprocals),
        ]
        mixes = [Signal.like(after["values"], name=f"mix_{h}") for h in range(machine.heads)]
        for head, mix in enumerate(mixes):
            with m.If(own & (step.head == head)):
                m.d.sync += mix.eq(after["values"])
        elements = [mix[i] for i in range(machine.head_width) for mix in mixes]
        elements += [Const(0)] * (-len(elements) % machine.writers)
        beat = quotient(self.index, machine.writers)
        for i, chosen in enumerate(self.sums):
            m.d.sync += chosen.eq(Array(elements[i :: machine.writers])[beat])
