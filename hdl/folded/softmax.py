"""Softmax numerators of all heads, one cached position a cycle."""

from amaranth.hdl import Array, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from gptloom.firmware.machine import QUAD, Machine
from gptloom.hdl.arithmetic import leading_one, quotient, remainder
from gptloom.hdl.folded.layouts import Accumulator, Quad, Scale
from gptloom.hdl.folded.requantise import ScoreQuantise
from gptloom.model.arithmetic import ACTIVATION_BITS, MANTISSA_BITS, SCORE_FRACTION
from gptloom.model.tables import (
    EXP2_TABLE,
    RECIPROCAL_INDEX_BITS,
    RECIPROCAL_TABLE,
    softmax_limit,
)


class Softmax(wiring.Component):
    """Scores in, ``2**(score - maximum)`` and one over their sum out.

    First, scores are quantised, written to the activation memory and their maximum found. Then they
    are read back position by position, replaced by their numerators, and summed. Positions that
    fill up the last word are replaced by zero, for the engine reads whole words.

    Attributes
    ----------
    begin : In(1)
        New scores will come: what is there is no longer `ready`.
    valid, sums, target : In
        The drain's scores, heads in order, position by position; where to write them.
    position : In
        Last position that counts.
    reading, read_row : Out
        Claim on the activation memory's read port; `quads` follow one cycle later.
    quads : In
        What was read.
    row, row_enable, row_data : Out
        Write port of the activation memory.
    ready : Out(1)
        The last numerators are being written.
    reciprocals : Out
        One over the sum, by head; valid ``4 + heads`` cycles after `ready`.
    tap_valid, tap_numerators, tap_position, tap_heads, tap_scores : Out
        A position's scores, or its numerators, as they are written for the heads in `tap_heads`.
    """

    def __init__(self, machine: Machine):
        self._machine = machine
        elements = machine.heads * QUAD
        super().__init__(
            {
                "begin": In(1),
                "valid": In(1),
                "first": In(1),
                "sums": In(Accumulator).array(machine.score_heads),
                "target": In(range(machine.activation_words)),
                "position": In(range(machine.context)),
                "reading": Out(1),
                "read_row": Out(range(machine.activation_words)),
                "quads": In(data.ArrayLayout(Quad, machine.heads)),
                "row": Out(range(machine.activation_words)),
                "row_enable": Out(elements),
                "row_data": Out(elements * ACTIVATION_BITS),
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
        heads = self._machine.heads
        maxima = [Signal(signed(ACTIVATION_BITS), name=f"maximum_{h}") for h in range(heads)]
        target = Signal.like(self.target)
        scored, start = self._score(m, maxima, target)
        numerators, position, written, last = self._exponentiate(m, maxima, target, start)

        place, lane = Signal.like(self.position), Signal(range(QUAD))
        m.d.comb += [
            place.eq(Mux(written, position, scored["position"])),
            lane.eq(remainder(place, QUAD)),
        ]
        head_enable = Mux(written, (1 << heads) - 1, scored["heads"])
        m.d.comb += [
            self.row.eq(target + quotient(place, QUAD)),
            self.tap_valid.eq(written | scored["heads"].any()),
            self.tap_numerators.eq(written),
            self.tap_position.eq(place),
            self.tap_heads.eq(head_enable),
        ]
        for head in range(heads):
            m.d.comb += self.tap_scores[head].eq(
                Mux(written, numerators[head], scored["scores"][head])
            )
            for i in range(QUAD):
                at = head * QUAD + i
                m.d.comb += [
                    self.row_enable[at].eq(head_enable[head] & (lane == i)),
                    self.row_data.word_select(at, ACTIVATION_BITS).eq(self.tap_scores[head]),
                ]
        self._sum(m, numerators, position, written, last)

        done = Signal()
        with m.If(last):
            m.d.sync += done.eq(1)
        with m.Elif(self.begin):
            m.d.sync += done.eq(0)
        m.d.comb += self.ready.eq(last | done)
        return m

    def _score(self, m: Module, maxima: list[Signal], target: Signal):
        """Quantise the drain's scores and keep each head's maximum."""
        machine = self._machine
        together = machine.score_heads
        slot = Signal(range(machine.context * machine.heads + machine.units))
        at = Signal.like(slot)
        m.d.comb += slot.eq(Mux(self.first, 0, at + together))
        # Compared while the scores are quantised: write ports are a long way from here.
        present, start = Signal(), Signal()
        final = Signal.like(slot)
        m.d.comb += final.eq(self.position * machine.heads + machine.heads - together)
        m.d.sync += [
            present.eq(self.valid & (slot <= final)),
            start.eq(self.valid & (slot == final)),
        ]
        with m.If(self.valid):
            m.d.sync += [at.eq(slot), target.eq(self.target)]

        position, head_at = quotient(at, machine.heads), remainder(at, machine.heads)
        enable = Signal(machine.heads)
        scores = []
        for head in range(machine.heads):
            first = head - head % together
            mine = present & (head_at == first)
            m.d.comb += enable[head].eq(mine)
            if head < together:
                m.submodules[f"score_{head}"] = quantise = ScoreQuantise()
                m.d.comb += quantise.i.eq(self.sums[head])
                scores.append(quantise.o)
            else:
                scores.append(scores[head % together])
            with m.If(mine & ((position == 0) | (scores[head] > maxima[head]))):
                m.d.sync += maxima[head].eq(scores[head])
        return {"position": position, "heads": enable, "scores": scores}, start

    def _exponentiate(self, m: Module, maxima: list[Signal], target: Signal, start: Signal):
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

        stages = [(self.reading, count, count == final, count <= self.position)]
        for number in range(1, 6):
            stage = (
                Signal(name=f"valid_{number}"),
                Signal.like(count, name=f"position_{number}"),
                Signal(name=f"last_{number}"),
                Signal(name=f"counts_{number}"),
            )
            m.d.sync += [now.eq(before) for now, before in zip(stage, stages[-1], strict=True)]
            stages.append(stage)

        numerators = []
        for head in range(machine.heads):
            score = Signal(signed(ACTIVATION_BITS), name=f"score_{head}")
            distance = Signal(ACTIVATION_BITS, name=f"distance_{head}")
            mantissa = Signal(MANTISSA_BITS, name=f"mantissa_{head}")
            octaves = Signal(ACTIVATION_BITS - SCORE_FRACTION, name=f"octaves_{head}")
            numerator = Signal(MANTISSA_BITS, name=f"numerator_{head}")
            m.d.sync += [
                score.eq(self.quads[head][remainder(stages[1][1], QUAD)]),
                distance.eq(maxima[head] - score),
                mantissa.eq(Array(EXP2_TABLE.tolist())[distance[:SCORE_FRACTION]]),
                octaves.eq(distance[SCORE_FRACTION:]),
                numerator.eq(Mux(stages[4][3], mantissa >> octaves, 0)),
            ]
            numerators.append(numerator)
        valid, position, last, _ = stages[5]
        return numerators, position, valid, valid & last

    def _sum(self, m: Module, numerators, position, written, last) -> None:
        """Add up each head's numerators and, head after head, find one over the sum."""
        machine = self._machine
        bits = softmax_limit(machine.context).bit_length()
        totals = Array(Signal(bits, name=f"total_{h}") for h in range(machine.heads))
        for total, numerator in zip(totals, numerators, strict=True):
            with m.If(written):
                m.d.sync += total.eq(Mux(position == 0, 0, total) + numerator)

        busy = Signal()
        head = Signal(range(max(2, machine.heads)))
        with m.If(last):
            m.d.sync += [busy.eq(1), head.eq(0)]
        with m.Elif(busy):
            m.d.sync += head.eq(head + 1)
            with m.If(head == machine.heads - 1):
                m.d.sync += busy.eq(0)

        total = Signal(bits)
        exponent = Signal(range(bits))
        selected = [Signal.like(head, name=f"head_{i}") for i in range(2)]
        valid = [Signal(name=f"divide_{i}") for i in range(2)]
        present = Signal(bits)
        m.d.comb += present.eq(totals[head])
        m.d.sync += [
            total.eq(present),
            exponent.eq(leading_one(m, present)),
            selected[0].eq(head),
            valid[0].eq(busy),
        ]
        index = Signal(RECIPROCAL_INDEX_BITS)
        scale = Signal(range(bits))
        m.d.sync += [
            index.eq((total << RECIPROCAL_INDEX_BITS) >> exponent),
            scale.eq(exponent),
            selected[1].eq(selected[0]),
            valid[1].eq(valid[0]),
        ]
        for h in range(machine.heads):
            with m.If(valid[1] & (selected[1] == h)):
                m.d.sync += [
                    self.reciprocals[h].mantissa.eq(Array(RECIPROCAL_TABLE.tolist())[index]),
                    self.reciprocals[h].exponent.eq(scale),
                ]
