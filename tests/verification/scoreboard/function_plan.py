"""The nonlinear functions' part of a plan: norm, softmax, sampler."""

import numpy as np

from gptloom.firmware.isa import Destination
from gptloom.firmware.machine import QUAD
from gptloom.firmware.timeline import Span, scores_read_back
from gptloom.hdl.folded.layouts import Scale
from gptloom.model.arithmetic import ACTIVATION_BITS, MANTISSA_BITS
from gptloom.model.sites import Kind as SiteKind
from gptloom.model.sites import Site
from gptloom.model.tables import NOISE_BITS
from gptloom.sim.engines.base import WORD_BITS
from verification.scoreboard.sheet import Sheet
from verification.scoreboard.values import ZERO

RECIPROCAL = 4
"""Cycles from the softmax's `ready` to the reciprocals, plus one per head; two more in a deep
machine."""


class FunctionPlan:
    """Plans the values of norm, softmax and sampler."""

    def __init__(self, sheet: Sheet):
        self._sheet = sheet
        self._column = sheet.signals.columns
        self._held = sheet.signals.held
        self._machine = sheet.layout.machine

    def norm(self, site: Site, written: int) -> None:
        """Expect the norm of a stream whose last elements are written in cycle `written`."""
        source = self._sheet.numbers.segment(site, "norm").indices
        self._scale(self._held["norm.norm"], written + self._sheet.latencies.norm, source)

    def norm_of_results(self, span: Span, written: int) -> None:
        """Expect the norm of an instruction's results, if they are a stream."""
        if span.scheduled.instruction.destination is Destination.STREAM:
            self.norm(span.scheduled.step.site, written)

    def scores(self, span: Span) -> None:
        """Expect scores from the drain and in the activation memory, and their maxima."""
        sheet, column, m = self._sheet, self._column, self._machine
        site, target = span.scheduled.step.site, span.scheduled.instruction.target
        numbers = sheet.numbers
        n, beat = np.indices((span.passes, m.score_beats)).reshape(2, -1)
        drained = span.start + n * span.length + span.quads - 1 + sheet.latencies.drain + beat
        sheet.due.constant(drained, column["drain.scores__valid"], 1, 1)
        number = n * m.units + beat * m.score_heads
        # The rest of the last position's word holds no scores.
        there = number // m.heads <= sheet.position
        drained, number = drained[there], number[there]
        position, first = number // m.heads, number % m.heads
        sums = numbers.segment(site, "sum").indices[:, :, -1]
        for i in range(m.score_heads):
            path = f"drain.scores__sums__{i}"
            source = sums[position, first + i]
            sheet.due.number(drained, column[path], source, m.accumulator_bits)

        together = (1 << m.score_heads) - 1
        scores = numbers.segment(site).indices
        maxima = numbers.segment(site, "maximum").indices
        self._tap(drained + sheet.latencies.score, position, together << first, False)
        for i in range(m.score_heads):
            head = first + i
            self._written(
                drained + sheet.latencies.score, position, head, scores[position, head], target
            )
            for h in range(m.heads):
                mine = head == h
                self._sheet.held.number(
                    drained[mine] + sheet.latencies.score + 1,
                    self._held[f"softmax.maximum_{h}"],
                    maxima[position[mine], h],
                    ACTIVATION_BITS,
                )

    def softmax(self, span: Span) -> None:
        """Expect scores read back, their numerators written, and the reciprocals of the sums."""
        sheet, column, m = self._sheet, self._column, self._machine
        site = sheet.layout.network.of_kind(SiteKind.SOFTMAX, span.scheduled.step.site.layer)
        target = span.scheduled.instruction.target
        numbers = sheet.numbers
        begin = scores_read_back(span, m, sheet.position)
        position = np.arange((sheet.position // QUAD + 1) * QUAD)
        read = begin + position
        address = sheet.signals.by_path["activations.address"]
        sheet.due.constant(read, column["softmax.reading"], 1, 1)
        sheet.due.constant(read, column[address.path], target + position // QUAD, address.width)

        written = read + sheet.latencies.numerator
        values = numbers.segment(site).indices.copy()
        totals = numbers.segment(site, "total").indices
        # Positions that pad the last word are replaced by zero.
        values[sheet.position + 1 :] = ZERO
        self._tap(written, position, (1 << m.heads) - 1, True)
        for head in range(m.heads):
            source = values[position, head]
            self._written(written, position, np.full(len(position), head), source, target)
            path = f"softmax.numerator_{head}"
            sheet.due.number(written, column[path], source, MANTISSA_BITS)
            sheet.held.number(
                written + 1,
                self._held[f"softmax.total_{head}"],
                totals[position, head],
                sheet.signals.by_path[f"softmax.total_{head}"].width,
            )
        ready = int(written[-1])
        sheet.held.constant(span.start + 1, self._held["softmax.ready"], 0, 1)
        sheet.held.constant(ready + sheet.latencies.reciprocals, self._held["softmax.ready"], 1, 1)
        reciprocals = numbers.segment(site, "reciprocal").indices
        known = ready + RECIPROCAL + m.heads + 2 * m.deep
        column = self._held["softmax.reciprocals"]
        words = -(-m.heads * Scale.size // WORD_BITS)
        sheet.held.unknown(np.full(words, ready + 1), column + np.arange(words))
        for head in range(m.heads):
            self._scale(column, known, reciprocals[head], head * Scale.size)

    def sample(self, span: Span, done: int) -> None:
        """Expect noise with every logit, and the sampled token."""
        sheet, column, m = self._sheet, self._column, self._machine
        rows = span.scheduled.instruction.rows
        index = np.arange(rows)
        beats = index % m.units // m.writers
        cycle = (
            span.start
            + index // m.units * span.length
            + span.quads - 1
            + sheet.latencies.drain
            + beats
            + sheet.latencies.result
        )  # fmt: skip
        noise = sheet.numbers.segment(span.scheduled.step.site, "noise").indices
        at = index % m.writers * NOISE_BITS
        sheet.due.number(cycle, column["sampler.noise.values"], noise, NOISE_BITS, at)
        token = sheet.numbers.segment(span.scheduled.step.site, "token").indices
        width = sheet.signals.by_path["sampler.token"].width
        sheet.due.constant(done, column["sampler.done"], 1, 1)
        sheet.due.number(done, column["sampler.token"], token, width)

    def _tap(self, cycle, position, heads, numerators: bool) -> None:
        due, column, m = self._sheet.due, self._column, self._machine
        width = self._sheet.signals.by_path["softmax.tap_position"].width
        due.constant(cycle, column["softmax.tap_valid"], 1, 1, element=position)
        due.constant(cycle, column["softmax.tap_numerators"], numerators, 1, element=position)
        due.constant(cycle, column["softmax.tap_position"], position, width, element=position)
        due.constant(cycle, column["softmax.tap_heads"], heads, m.heads, element=position)

    def _written(self, cycle, position, head, source, target: int) -> None:
        """Expect one head's score or numerator on its way to the activation memory."""
        due, column = self._sheet.due, self._column
        signals = self._sheet.signals.by_path
        due.number(
            cycle, column["softmax.tap_scores"], source, ACTIVATION_BITS, head * ACTIVATION_BITS
        )
        place = head * QUAD + position % QUAD
        width = signals["activations.write_address"].width
        due.constant(cycle, column["activations.write_enable"], 1, 1, place, element=position)
        row = target + position // QUAD
        due.constant(cycle, column["activations.write_address"], row, width, element=position)
        due.number(
            cycle, column["activations.write_data"], source, ACTIVATION_BITS,
            place * ACTIVATION_BITS,
        )  # fmt: skip

    def _scale(self, column: int, cycle: int, source: np.ndarray, at: int = 0) -> None:
        held = self._sheet.held
        for name, number in zip(("mantissa", "exponent"), source, strict=True):
            field = Scale[name]
            held.number(cycle, column, number, field.width, at + field.offset)
