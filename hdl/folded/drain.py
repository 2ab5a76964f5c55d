"""The drain: a pass's dot products leave the engine in beats, while the next pass runs."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gptloom.firmware.isa import Destination
from gptloom.firmware.machine import Machine
from gptloom.hdl.folded.layouts import accumulator, job, result_fields


class Drain(wiring.Component):
    """Holds the sums of one pass and shifts them out, `writers` a cycle.

    Passes come at least as many cycles apart as their beats take. Scores leave to `score_valid`
    instead, `score_heads` a cycle, and without a limit of rows: the softmax knows the position.

    Attributes
    ----------
    load, sums, job, order : In
        A finished pass.
    valid : Out(1)
        The first `writers` of `sums_out` are results `index`, `index + 1`, ... of `job_out`, to be
        treated by `order_out`.
    enable : Out
        Which of the writers have a row.
    last : Out(1)
        The last row of the instruction is among them.
    next_index : Out
        Value of `index` in the next cycle, if there is a result then.
    score_valid, score_first : Out(1)
        The first `score_heads` of `sums_out` are scores, the first ones of their instruction.
    """

    def __init__(self, machine: Machine):
        self._machine = machine
        super().__init__(
            {
                "load": In(1),
                "sums": In(accumulator(machine)).array(machine.units),
                "job": In(job(machine)),
                "order": In(result_fields(machine)),
                "valid": Out(1),
                "enable": Out(machine.writers),
                "index": Out(machine.row_bits),
                "last": Out(1),
                "next_index": Out(machine.row_bits),
                "job_out": Out(job(machine)),
                "order_out": Out(result_fields(machine)),
                "sums_out": Out(accumulator(machine)).array(machine.units),
                "score_valid": Out(1),
                "score_first": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        machine = self._machine
        writers = machine.writers
        active = Signal()
        beat = Signal(range(max(2, machine.units)))
        last_beat = Signal.like(beat)

        first_index = Signal(machine.row_bits)
        m.d.comb += [
            first_index.eq(Mux(self.job.opening, 0, self.index + writers)),
            self.next_index.eq(Mux(self.load, first_index, self.index + writers)),
        ]
        scores = self.order_out.destination == Destination.SCORES
        for_scores = self.order.destination == Destination.SCORES
        with m.If(self.load):
            for taken, sum_ in zip(self.sums_out, self.sums, strict=True):
                m.d.sync += taken.eq(sum_)
            m.d.sync += [
                self.job_out.eq(self.job),
                self.order_out.eq(self.order),
                self.index.eq(first_index),
                active.eq(1),
                beat.eq(0),
                last_beat.eq(Mux(for_scores, machine.score_beats - 1, machine.beats - 1)),
                self.score_first.eq(self.job.opening),
            ]
        with m.Elif(active):
            self._shift(m, scores)
            m.d.sync += [beat.eq(beat + 1), self.score_first.eq(0)]
            with m.If(beat == last_beat):
                m.d.sync += active.eq(0)
            with m.Else():
                m.d.sync += self.index.eq(self.index + writers)

        rows = self.order_out.rows
        has_row = Cat(self.index + i < rows for i in range(writers))
        m.d.comb += [
            self.valid.eq(active & ~scores & has_row[0]),
            self.enable.eq(has_row),
            self.last.eq(self.index + writers >= rows),
            self.score_valid.eq(active & scores),
        ]
        return m

    def _shift(self, m: Module, scores) -> None:
        """Bring the sums of the next beat to the front."""
        machine = self._machine
        last = machine.units - 1
        for i in range(last):
            following = self.sums_out[min(i + machine.writers, last)]
            # Scores that leave all at once need no shift, others mostly the same one.
            if machine.score_beats > 1 and machine.score_heads != machine.writers:
                score = self.sums_out[min(i + machine.score_heads, last)]
                following = Mux(scores, score, following)
            m.d.sync += self.sums_out[i].eq(following)
