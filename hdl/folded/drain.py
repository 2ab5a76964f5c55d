"""The drain: a pass's dot products leave the MAC array in beats, while the next pass runs."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gptloom.firmware.machine import Machine
from gptloom.hdl.attributes import LOADED
from gptloom.hdl.folded.layouts import (
    Beat,
    Listeners,
    ScoreBus,
    accumulator,
    job,
    listeners,
    result_fields,
)


class Drain(wiring.Component):
    """Holds the sums of one pass and shifts them out, `writers` a cycle.

    Passes come at least as many cycles apart as their beats take. Scores leave to `scores` instead,
    `score_heads` at `score_positions` a cycle, and without a limit of rows: the softmax knows the
    position.

    Attributes
    ----------
    load, sums, job, instruction : In
        A finished pass.
    o : Out
        Its results.
    next_index : Out
        Value of ``o.index`` in the next cycle, if there is a result then.
    scores : Out
        Its scores.
    """

    def __init__(self, machine: Machine):
        self._machine = machine
        super().__init__(
            {
                "load": In(1),
                "sums": In(accumulator(machine)).array(machine.units),
                "job": In(job(machine)),
                "instruction": In(result_fields(machine)),
                "o": Out(Beat(machine)),
                "next_index": Out(machine.row_bits),
                "scores": Out(ScoreBus(machine)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        machine = self._machine
        writers, index = machine.writers, self.o.index
        held = [
            Signal(accumulator(machine), name=f"held_{unit}", **LOADED)
            for unit in range(machine.units)
        ]
        active = Signal()
        beat = Signal(range(max(2, machine.units)))
        last_beat = Signal.like(beat)

        first_index = Signal(machine.row_bits)
        m.d.comb += [
            first_index.eq(Mux(self.job.opening, 0, index + writers)),
            self.next_index.eq(Mux(self.load, first_index, index + writers)),
        ]
        to = Signal(Listeners)
        m.d.comb += to.eq(listeners(machine, self.instruction.destination))
        scores = self.o.to.softmax
        with m.If(self.load):
            for taken, sum_ in zip(held, self.sums, strict=True):
                m.d.sync += taken.eq(sum_)
            m.d.sync += [
                self.o.to.eq(to),
                self.o.operation.eq(self.job.operation),
                self.o.instruction.eq(self.instruction),
                index.eq(first_index),
                active.eq(1),
                beat.eq(0),
                last_beat.eq(Mux(to.softmax, machine.score_beats - 1, machine.beats - 1)),
                self.scores.first.eq(self.job.opening),
            ]
        with m.Elif(active):
            self._shift(m, held, scores)
            m.d.sync += [beat.eq(beat + 1), self.scores.first.eq(0)]
            with m.If(beat == last_beat):
                m.d.sync += active.eq(0)
            with m.Else():
                m.d.sync += index.eq(index + writers)

        rows = self.o.instruction.rows
        has_row = Cat(index + i < rows for i in range(writers))
        m.d.comb += [
            self.o.valid.eq(active & ~scores & has_row[0]),
            self.o.enable.eq(has_row),
            self.o.last.eq(index + writers >= rows),
            self.scores.valid.eq(active & scores),
            self.scores.target.eq(self.o.instruction.target),
        ]
        for bus in (self.o, self.scores):
            m.d.comb += [out.eq(sum_) for out, sum_ in zip(bus.sums, held, strict=False)]
        return m

    def _shift(self, m: Module, held, scores) -> None:
        """Bring the sums of the next beat to the front."""
        machine = self._machine
        last = machine.units - 1
        for i in range(last):
            following = held[min(i + machine.writers, last)]
            # Scores that leave all at once need no shift, others mostly the same one.
            together = machine.score_heads * machine.score_positions
            if machine.score_beats > 1 and together != machine.writers:
                score = held[min(i + together, last)]
                following = Mux(scores, score, following)
            m.d.sync += held[i].eq(following)
