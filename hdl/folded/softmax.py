"""Softmax numerators of all heads, one cached position a cycle or a word of them."""

from itertools import product

from amaranth.hdl import Array, Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from gptloom.firmware.latencies import Latencies
from gptloom.firmware.machine import QUAD, Machine
from gptloom.hdl.arithmetic import less, quotient, remainder, saturated
from gptloom.hdl.attributes import LOADED
from gptloom.hdl.delay import delayed, late
from gptloom.hdl.folded.layouts import Scale, ScoreBus, quad, score_beat
from gptloom.hdl.folded.reciprocal import Reciprocal
from gptloom.hdl.folded.requantise import ScoreQuantise
from gptloom.model.arithmetic import MANTISSA_BITS, SCORE_FRACTION
from gptloom.model.positions import MAX_DISTANCE, Positions, slope_shifts
from gptloom.model.tables import EXP2_TABLE, softmax_limit


class Softmax(wiring.Component):
    """Scores in, ``2**(score - maximum)`` and one over their sum out.

    First, scores are quantised, written to the activation memory and their maximum found. Then they
    are read back position by position, `softmax_positions` at a time, replaced by their numerators,
    and summed. Positions that fill up the last word are replaced by zero, for the MAC array reads
    whole words.

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
        The last numerators are being written, or were ``Latencies.reciprocals`` cycles ago. If the
        mix overlaps the softmax, that counts from the cycle before the first ones are written.
    fresh : Out
        In such a machine, the latest numerators, in time for an issue that follows `ready`.
    reciprocals : Out
        One over the sum, by head; valid ``4 + heads`` cycles after the last numerators, two more in
        a deep machine. If the mix overlaps, numerators are added in words, which takes a cycle, and
        two heads' sums come at a time.
    tap_valid, tap_numerators, tap_position, tap_heads, tap_scores : Out
        Scores, or numerators, as they are written for the heads in `tap_heads`, at `tap_position`
        and the positions that follow it.
    """

    def __init__(self, machine: Machine):
        self._machine = machine
        elements = machine.heads * QUAD
        quads = data.ArrayLayout(quad(machine), machine.heads)
        super().__init__(
            {
                **({"fresh": Out(quads)} if machine.overlaps else {}),
                "begin": In(1),
                "i": In(ScoreBus(machine)),
                "position": In(range(machine.context)),
                "reading": Out(1),
                "read_row": Out(range(machine.activation_words)),
                "quads": In(quads),
                "row": Out(range(machine.activation_words)),
                "row_enable": Out(elements),
                "row_data": Out(elements * machine.element_bits),
                "at": Out(range(machine.context)),
                "passes": Out(1),
                "distance": In(MAX_DISTANCE.bit_length()),
                "ready": Out(1),
                "reciprocals": Out(data.ArrayLayout(Scale, machine.heads)),
                "tap_valid": Out(1),
                "tap_numerators": Out(1),
                "tap_position": Out(range(machine.context)),
                "tap_heads": Out(machine.heads),
                "tap_scores": Out(score_beat(machine)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        machine = self._machine
        heads, bits = machine.heads, machine.element_bits
        together, whole = machine.score_positions, machine.softmax_positions
        place = Signal.like(self.position)
        written, opening = Signal(), Signal()
        enable = Signal(heads)
        # Complements of the maxima: added to a score, they make its distance's complement.
        maxima = [Signal(signed(bits), name=f"maximum_{h}", **LOADED) for h in range(heads)]

        scores, coming, number, target, held = self._score(m)
        # Scores are read back from the cycle in which the last ones are written.
        start = delayed(m, coming & (number == self._final))
        stages = self._read(m, held, start)
        numerators = self._numerators(m, maxima, stages)
        last = stages[5].valid & stages[5].last

        # The place of a score or a numerator is known ahead: write ports are a long way from here.
        following = Mux(stages[4].valid, stages[4].position, quotient(number, heads))
        count = [late(m, quotient(number, heads) + i <= self.position) for i in range(1, together)]
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
            # Scores of the head at positions in a row, and its numerators.
            column = scores[head % machine.score_heads :: machine.score_heads]
            values = [
                Mux(written, numerator, column[i % together])
                for i, numerator in enumerate(numerators[head])
            ]
            for i, value in enumerate(values):
                m.d.comb += self.tap_scores[i][head].eq(value)
            for i in range(QUAD):
                at = head * QUAD + i
                here = quotient(remainder(place, QUAD), together) == i // together
                if whole == QUAD:
                    here |= written
                m.d.comb += [
                    self.row_enable[at].eq(enable[head] & here),
                    self.row_data.word_select(at, bits).eq(values[i % whole]),
                ]
            self._raise(m, maxima[head], column, count, enable[head] & ~written, opening)
        self._sum(m, numerators, place, written, last)

        reciprocals, awaited = Latencies.of(machine).reciprocals, last
        if machine.overlaps:
            awaited = stages[4].valid & (stages[4].position == 0)
            m.d.comb += self.fresh.eq(late(m, self.row_data, 1 + reciprocals))
        done, over = Signal(), delayed(m, awaited, reciprocals)
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
        together = machine.score_positions
        first = quotient(self.position, together) * together
        return first * machine.heads + machine.heads - machine.score_heads

    def _raise(self, m: Module, maximum, scores, count, valid, opening) -> None:
        """Raise a head's maximum, a complement, to the largest of its scores that count.

        The first does, and others as `count` says.
        """
        score, *others = scores
        lowest = -(1 << len(score) - 1)
        others = [Mux(counts, other, lowest) for counts, other in zip(count, others, strict=True)]
        while others:
            pairs = [score, *others]
            score, *others = [
                late(m, Mux(less(one, other), other, one).as_signed())
                for one, other in zip(pairs[::2], pairs[1::2], strict=True)
            ]
            # Scores are read back later still.
            valid, opening = delayed(m, valid), delayed(m, opening)
        with m.If(valid & (opening | ((score + maximum) >= 0))):
            m.d.sync += maximum.eq(~score)

    def _score(self, m: Module):
        """Quantise the drain's scores.

        Return them, and of those to come in the next cycle whether they count, their number
        (position by position, head by head), and the row of the first one, now and a cycle before.
        """
        machine = self._machine
        together = machine.score_heads * machine.score_positions
        precision, scores = machine.precision, []
        for head in range(together):
            m.submodules[f"score_{head}"] = quantise = ScoreQuantise(
                machine.accumulator_bits, machine.deep, precision.score_shift, precision.scores
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
            bits = self._machine.element_bits
            result = Signal(signed(bits), name=f"penalised_{i}")
            for first in range(0, self._machine.heads, len(scores)):
                with m.If(group == first):
                    m.d.sync += penalty.eq(units << shifts[first + i])
            m.d.sync += result.eq(saturated(score - penalty, bits))
            found.append(result)
        return found

    def _read(self, m: Module, target, start) -> list:
        """Read the scores back; five cycles later their numerators are there."""
        machine = self._machine
        step = machine.softmax_positions
        count = Signal(range(machine.context // step))
        final = Signal.like(count)
        m.d.comb += final.eq(quotient(self.position | (QUAD - 1), step))
        with m.If(start):
            m.d.sync += [self.reading.eq(1), count.eq(0), self.read_row.eq(target)]
        with m.Elif(self.reading):
            m.d.sync += count.eq(count + 1)
            with m.If(remainder(~count, QUAD // step) == 0):
                m.d.sync += self.read_row.eq(self.read_row + 1)
            with m.If(count == final):
                m.d.sync += self.reading.eq(0)

        beat = Signal(
            data.StructLayout(
                {"valid": 1, "position": range(machine.context), "last": 1, "counts": step}
            )
        )
        m.d.comb += [
            beat.valid.eq(self.reading),
            beat.position.eq(count * step),
            beat.last.eq(count == final),
            beat.counts.eq(Cat(beat.position + i <= self.position for i in range(step))),
        ]
        stages = [beat]
        for _ in range(5):
            stages.append(delayed(m, stages[-1]))
        return stages

    def _numerators(self, m: Module, maxima: list[Signal], stages: list) -> list[list[Signal]]:
        """Compute the numerators of what was read: by head, and by position in a row."""
        bits, step = self._machine.element_bits, self._machine.softmax_positions
        numerators = []
        for head, i in product(range(self._machine.heads), range(step)):
            name = f"{head}" if step == 1 else f"{head}_{i}"
            score = Signal(signed(bits), name=f"score_{name}", **LOADED)
            distance = Signal(bits, name=f"distance_{name}", **LOADED)
            mantissa = Signal(MANTISSA_BITS, name=f"mantissa_{name}", **LOADED)
            octaves = Signal(bits - SCORE_FRACTION, name=f"octaves_{name}", **LOADED)
            numerator = Signal(MANTISSA_BITS, name=f"numerator_{name}", **LOADED)
            read = self.quads[head]
            m.d.sync += [
                score.eq(read[remainder(stages[1].position, QUAD)] if step == 1 else read[i]),
                distance.eq(~(score + maxima[head])),
                mantissa.eq(Array(EXP2_TABLE.tolist())[distance[:SCORE_FRACTION]]),
                octaves.eq(distance[SCORE_FRACTION:]),
                numerator.eq(Mux(stages[4].counts[i], mantissa >> octaves, 0)),
            ]
            numerators.append(numerator)
        return [numerators[at : at + step] for at in range(0, len(numerators), step)]

    def _sum(self, m: Module, numerators, position, written, last) -> None:
        """Add up each head's numerators and, head after head or two at a time, find one over it."""
        machine = self._machine
        bits = softmax_limit(machine.context).bit_length()
        totals = Array(Signal(bits, name=f"total_{h}", **LOADED) for h in range(machine.heads))
        opening = position == 0
        if machine.softmax_positions > 1:
            written, opening, last = (delayed(m, s) for s in (written, opening, last))
        for total, several in zip(totals, numerators, strict=True):
            numerator, *others = several
            if others:
                numerator = late(m, sum(several))
            with m.If(written):
                m.d.sync += total.eq(Mux(opening, numerator, total + numerator))

        busy = Signal()
        head = Signal(range(max(2, machine.heads)))
        together = min(2, machine.heads) if machine.overlaps else 1
        with m.If(last):
            m.d.sync += [busy.eq(1), head.eq(0)]
        with m.Elif(busy):
            m.d.sync += head.eq(head + together)
            with m.If(head == machine.heads - together):
                m.d.sync += busy.eq(0)

        m.submodules.reciprocal = reciprocal = Reciprocal(machine, bits, together)
        m.d.comb += [
            reciprocal.valid.eq(busy),
            reciprocal.head.eq(head),
            *(total.eq(totals[head + i]) for i, total in enumerate(reciprocal.totals)),
            self.reciprocals.eq(reciprocal.reciprocals),
        ]
