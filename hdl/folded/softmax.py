"""Softmax numerators of all heads, one cached position a cycle."""

from amaranth.hdl import Array, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from gptloom.firmware.latencies import Latencies
from gptloom.firmware.machine import QUAD, Machine
from gptloom.hdl.arithmetic import quotient, remainder, saturated
from gptloom.hdl.attributes import LOADED
from gptloom.hdl.delay import delayed
from gptloom.hdl.folded.layouts import Quad, Scale, ScoreBus
from gptloom.hdl.folded.reciprocal import Reciprocal
from gptloom.hdl.folded.requantise import ScoreQuantise
from gptloom.model.arithmetic import ACTIVATION_BITS, MANTISSA_BITS, SCORE_FRACTION
from gptloom.model.positions import MAX_DISTANCE, Positions, slope_shifts
from gptloom.model.tables import EXP2_TABLE, softmax_limit


class Softmax(wiring.Component):
    """Scores in, ``2**(score - maximum)`` and one over their sum out.

    First, scores are quantised, written to the activation memory and their maximum found. Then they
    are read back position by position, replaced by their numerators, and summed. Positions that
    fill up the last word are replaced by zero, for the MAC array reads whole words.

    Attributes
    ----------
    begin : In(1)
        New scores will come: what is there is no longer `ready`.
    i : In
        The drain's scores, and where to write them.
    position : In
        Last position that counts.
    reading, read_row : Out
        Claim on the activation memory's read port; `quads` follow one cycle later.
    quads : In
        Words read from the activation memory.
    row, row_enable, row_data : Out
        Write port of the activation memory.
    at, passes, distance : Out, Out(1), In
        With ALiBi: the row whose scores are next, and whether they are its last; its distance in
        the same cycle.
    ready : Out(1)
        The last numerators are being written, or were ``Latencies.reciprocals`` cycles ago.
    reciprocals : Out
        One over the sum, by head; valid ``4 + heads`` cycles after the last numerators, two more in
        a deep machine.
    tap_valid, tap_numerators, tap_position, tap_heads, tap_scores : Out
        A position's scores, or its numerators, as they are written for the heads in `tap_heads`.
    """

    def __init__(self, machine: Machine):
        self._machine = machine
        elements = machine.heads * QUAD
        super().__init__(
            {
                "begin": In(1),
                "i": In(ScoreBus(machine)),
                "position": In(range(machine.context)),
                "reading": Out(1),
                "read_row": Out(range(machine.activation_words)),
                "quads": In(data.ArrayLayout(Quad, machine.heads)),
                "row": Out(range(machine.activation_words)),
                "row_enable": Out(elements),
                "row_data": Out(elements * ACTIVATION_BITS),
                "at": Out(range(machine.context)),
                "passes": Out(1),
                "distance": In(MAX_DISTANCE.bit_length()),
                "ready": Out(1),
                "reciprocals": Out(data.ArrayLayout(Scale, machine.heads)),
                "tap_valid": Out(1),
                "tap_numerators": Out(1),
                "tap_position": Out(range(machine.context)),
                "tap_heads": Out(machine.heads),
                "tap_scores": Out(data.ArrayLayout(Quad.elem_shape, machine.heads)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        machine = self._machine
        heads = machine.heads
        place = Signal.like(self.position)
        written, opening = Signal(), Signal()
        enable = Signal(heads)
        # Complements of the maxima: added to a score, they make its distance's complement.
        maxima = [
            Signal(signed(ACTIVATION_BITS), name=f"maximum_{h}", **LOADED) for h in range(heads)
        ]

        scores, coming, number, target, held = self._score(m)
        # Scores are read back from the cycle in which the last ones are written.
        start = delayed(m, coming & (number == self._final))
        stages = self._read(m, held, start)
        numerators = self._numerators(m, maxima, stages)
        last = stages[5].valid & stages[5].last

        # The place of a score or a numerator is known ahead: write ports are a long way from here.
        following = Mux(stages[4].valid, stages[4].position, quotient(number, heads))
        m.d.sync += [
            place.eq(following),
            self.row.eq(target + quotient(following, QUAD)),
            written.eq(stages[4].valid),
            opening.eq(quotient(number, heads) == 0),
            self.tap_valid.eq(stages[4].valid | coming),
        ]
        m.d.comb += [
            self.tap_numerators.eq(written),
            self.tap_position.eq(place),
            self.tap_heads.eq(enable),
        ]
        for head in range(heads):
            at_once = remainder(number, heads) == head - head % machine.score_heads
            m.d.sync += enable[head].eq(stages[4].valid | (coming & at_once))
            score = scores[head % machine.score_heads]
            value = Mux(written, numerators[head], score)
            m.d.comb += self.tap_scores[head].eq(value)
            for i in range(QUAD):
                at = head * QUAD + i
                m.d.comb += [
                    self.row_enable[at].eq(enable[head] & (remainder(place, QUAD) == i)),
                    self.row_data.word_select(at, ACTIVATION_BITS).eq(value),
                ]
            with m.If(enable[head] & ~written & (opening | ((score + maxima[head]) >= 0))):
                m.d.sync += maxima[head].eq(~score)
        self._sum(m, numerators, place, written, last)

        done, over = Signal(), delayed(m, last, Latencies.of(machine).reciprocals)
        with m.If(over):
            m.d.sync += done.eq(1)
        with m.Elif(self.begin):
            m.d.sync += done.eq(0)
        m.d.comb += self.ready.eq(over | done)
        return m

    @property
    def _final(self):
        """Number of the last scores that leave the drain together and count."""
        machine = self._machine
        return self.position * machine.heads + machine.heads - machine.score_heads

    def _score(self, m: Module):
        """Quantise the drain's scores.

        Return them, and of those to come in the next cycle whether they count, their number
        (position by position, head by head), and the row of the first one, now and a cycle before.
        """
        machine = self._machine
        together = machine.score_heads
        scores = []
        for head in range(together):
            m.submodules[f"score_{head}"] = quantise = ScoreQuantise(
                machine.accumulator_bits, machine.deep
            )
            m.d.comb += quantise.i.eq(self.i.sums[head])
            scores.append(quantise.o)
        valid, first = (
            delayed(m, flag, quantise.latency - 1) for flag in (self.i.valid, self.i.first)
        )
        number = Signal(range(machine.context * machine.heads + machine.units))
        following = Signal.like(number, **LOADED)
        target, held = Signal.like(self.i.target), Signal.like(self.i.target)
        m.d.comb += number.eq(Mux(first, 0, following))
        with m.If(valid):
            m.d.sync += following.eq(number + together)
        if machine.positions is Positions.ALIBI:
            counts = valid & (number <= self._final)
            group = remainder(number, machine.heads)
            m.d.comb += [
                self.at.eq(quotient(number, machine.heads)),
                self.passes.eq(counts & (group == machine.heads - together)),
            ]
            scores = self._penalised(m, scores, group)
            valid, number = delayed(m, valid), delayed(m, number)
        # Scores of the latest instruction: its row is there as long as they leave the drain.
        m.d.comb += target.eq(Mux(self.i.valid, self.i.target, held))
        m.d.sync += held.eq(target)
        return scores, valid & (number <= self._final), number, target, held

    def _penalised(self, m: Module, scores, group) -> list[Signal]:
        """Take penalties from scores that come in the next cycle, heads from `group` on."""
        shifts = slope_shifts(self._machine.heads).tolist()
        units, found = self.distance << SCORE_FRACTION, []
        widest = len(units) + max(shifts)
        for i, score in enumerate(scores):
            penalty = Signal(widest, name=f"penalty_{i}", **LOADED)
            result = Signal(signed(ACTIVATION_BITS), name=f"penalised_{i}")
            for first in range(0, self._machine.heads, len(scores)):
                with m.If(group == first):
                    m.d.sync += penalty.eq(units << shifts[first + i])
            m.d.sync += result.eq(saturated(score - penalty, ACTIVATION_BITS))
            found.append(result)
        return found

    def _read(self, m: Module, target, start) -> list:
        """Read the scores back, one position a cycle; five cycles later its numerators."""
        machine = self._machine
        count = Signal(range(machine.context))
        final = Signal.like(count)
        m.d.comb += final.eq(self.position | (QUAD - 1))
        with m.If(start):
            m.d.sync += [self.reading.eq(1), count.eq(0)]
        with m.Elif(self.reading):
            m.d.sync += count.eq(count + 1)
            with m.If(count == final):
                m.d.sync += self.reading.eq(0)
        m.d.comb += self.read_row.eq(target + quotient(count, QUAD))

        beat = Signal(
            data.StructLayout({"valid": 1, "position": count.shape(), "last": 1, "counts": 1})
        )
        m.d.comb += [
            beat.valid.eq(self.reading),
            beat.position.eq(count),
            beat.last.eq(count == final),
            beat.counts.eq(count <= self.position),
        ]
        stages = [beat]
        for _ in range(5):
            stages.append(delayed(m, stages[-1]))
        return stages

    def _numerators(self, m: Module, maxima: list[Signal], stages: list) -> list[Signal]:
        """Compute the numerators of what was read."""
        numerators = []
        for head in range(self._machine.heads):
            score = Signal(signed(ACTIVATION_BITS), name=f"score_{head}")
            distance = Signal(ACTIVATION_BITS, name=f"distance_{head}")
            mantissa = Signal(MANTISSA_BITS, name=f"mantissa_{head}")
            octaves = Signal(ACTIVATION_BITS - SCORE_FRACTION, name=f"octaves_{head}")
            numerator = Signal(MANTISSA_BITS, name=f"numerator_{head}")
            m.d.sync += [
                score.eq(self.quads[head][remainder(stages[1].position, QUAD)]),
                distance.eq(~(score + maxima[head])),
                mantissa.eq(Array(EXP2_TABLE.tolist())[distance[:SCORE_FRACTION]]),
                octaves.eq(distance[SCORE_FRACTION:]),
                numerator.eq(Mux(stages[4].counts, mantissa >> octaves, 0)),
            ]
            numerators.append(numerator)
        return numerators

    def _sum(self, m: Module, numerators, position, written, last) -> None:
        """Add up each head's numerators and, head after head, find one over the sum."""
        machine = self._machine
        bits = softmax_limit(machine.context).bit_length()
        totals = Array(Signal(bits, name=f"total_{h}", **LOADED) for h in range(machine.heads))
        for total, numerator in zip(totals, numerators, strict=True):
            with m.If(written):
                m.d.sync += total.eq(Mux(position == 0, numerator, total + numerator))

        busy = Signal()
        head = Signal(range(max(2, machine.heads)))
        with m.If(last):
            m.d.sync += [busy.eq(1), head.eq(0)]
        with m.Elif(busy):
            m.d.sync += head.eq(head + 1)
            with m.If(head == machine.heads - 1):
                m.d.sync += busy.eq(0)

        m.submodules.reciprocal = reciprocal = Reciprocal(machine, bits)
        m.d.comb += [
            reciprocal.valid.eq(busy),
            reciprocal.head.eq(head),
            reciprocal.total.eq(totals[head]),
            self.reciprocals.eq(reciprocal.reciprocals),
        ]
