"""A token's embedding where embeddings are a matrix among the weights."""

from amaranth.hdl import Array, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gptloom.firmware.latencies import operand_latency
from gptloom.firmware.machine import QUAD, Machine
from gptloom.hdl.arithmetic import quotient, remainder
from gptloom.hdl.delay import delayed, late
from gptloom.hdl.folded.layouts import EmbeddingBus

NEAR = 4
"""Units of which one is chosen in the first cycle."""


class TokenRow(wiring.Component):
    """Reads a row of the matrix at word 0 of the operand memory, a quad a cycle.

    So a matrix that is also that of the logits lies in memory once. The row belongs to one unit.

    Attributes
    ----------
    latency
        From `start` to the first elements: 5 cycles.
    start, token : In
        A token begins, and stays.
    last_beat : In
        Quads of a row, less one.
    reading, address : Out
        Claim on the operand memory's read port.
    words : In
        What was read, when the operand memory has it.
    o : Out
        Elements of the row.
    """

    def __init__(self, machine: Machine):
        self._machine = machine
        self._read = 2 + operand_latency(machine)
        self.latency = 1 + self._read
        super().__init__(
            {
                "start": In(1),
                "token": In(range(machine.vocabulary)),
                "last_beat": In(range(max(2, machine.stream_elements // QUAD))),
                "reading": Out(1),
                "address": Out(machine.address_bits),
                "words": In(machine.unit_bits).array(machine.units),
                "o": Out(EmbeddingBus(machine)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        machine = self._machine
        beat, base = Signal.like(self.last_beat), Signal(machine.address_bits)
        ends = beat == self.last_beat
        with m.If(self.start):
            rows = quotient(self.token, machine.units)
            m.d.sync += [self.reading.eq(1), beat.eq(0), base.eq(rows * (self.last_beat + 1))]
        with m.Elif(self.reading):
            m.d.sync += [beat.eq(beat + 1), self.reading.eq(~ends)]
        m.d.comb += self.address.eq(base + beat)

        # All units are far apart: the choice among them takes two cycles.
        unit = remainder(self.token, machine.units)
        near = [self.words[i : i + NEAR] for i in range(0, machine.units, NEAR)]
        chosen = [late(m, Array(words)[unit % NEAR], 1) for words in near]
        elements = Signal(machine.unit_bits)
        m.d.sync += elements.eq(Array(chosen)[quotient(unit, NEAR)])
        m.d.comb += [
            self.o.valid.eq(delayed(m, self.reading, self._read)),
            self.o.index.eq(delayed(m, Mux(self.reading, beat, 0), self._read) * QUAD),
            self.o.last.eq(delayed(m, ends, self._read)),
            *(
                element.eq(elements.word_select(i, machine.lane_bits).as_signed())
                for i, element in enumerate(self.o.elements)
            ),
        ]
        return m
