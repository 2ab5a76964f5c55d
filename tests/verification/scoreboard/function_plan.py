"""The nonlinear functions' part of a plan: norm, softmax, sampler."""

import numpy as np

from gptloom.firmware.isa import Destination
from gptloom.firmware.machine import QUAD
from gptloom.firmware.timeline import Span, scores_read_back
from gptloom.hdl.folded.layouts import Scale
from gptloom.model.arithmetic import MANTISSA_BITS
from gptloom.model.sites import Kind as SiteKind
from gptloom.model.sites import Site
from gptloom.model.tables import NOISE_BITS
from gptloom.sim.engines.base import WORD_BITS
from verification.scoreboard.sheet import Sheet
from verification.scoreboard.signals import numerator_paths
from verification.scoreboard.values import ZERO

RECIPROCAL = 4
"""Cycles from the softmax's last numerators to the reciprocals, plus one per head, or for two heads
where the mix overlaps; two more in a deep machine, one more where several numerators are added."""


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
        numbers, together = sheet.numbers, m.score_heads * m.score_positions
        n, beat = np.indices((span.passes, m.score_beats)).reshape(2, -1)
        drained = span.start + n * span.length + span.quads - 1 + sheet.latencies.drain + beat
        sheet.due.constant(drained, column["drain.scores__valid"], 1, 1)
        number = n * m.units + beat * together
        # The rest of the last row's word holds no scores.
        there = number // m.heads <= sheet.last
        drained, number = drained[there], number[there]
        row, first = number // m.heads, number % m.heads
        written = drained + sheet.latencies.score
        self._tap(written, row, (1 << m.score_heads) - 1 << first, False)
        sums = numbers.segment(site, "sum").indices[:, :, -1]
        scores = numbers.segment(site).indices
        for i in range(together):
            # Scores of rows that are not in use may be any, as what they are computed from.
            at, head = row + i // m.score_heads, first + i % m.score_heads
            known = at <= sheet.last
            source = sums[at[known], head[known]]
            path = f"drain.scores__sums__{i}"
            sheet.due.number(drained[known], column[path], source, m.accumulator_bits)
            self._written(written, at, head, target)
            place = at - row
            self._elements(written, at, place, head, known, scores)

        maxima = numbers.segment(site, "maximum").indices
        latest = np.minimum(row + m.score_positions - 1, sheet.last)
        # The largest of several is found first: of two of them in each cycle.
        compared = written + m.score_positions.bit_length()
        for head in range(m.heads):
            mine = (first <= head) & (head < first + m.score_heads)
            sheet.held.number(
                compared[mine],
                self._held[f"softmax.maximum_{head}"],
                maxima[latest[mine], head],
                m.element_bits,
            )

    def softmax(self, span: Span) -> None:
        """Expect scores read back, their numerators written, and the reciprocals of the sums."""
        sheet, column, m = self._sheet, self._column, self._machine
        site = sheet.layout.network.of_kind(SiteKind.SOFTMAX, span.scheduled.step.site.layer)
        target, several = span.scheduled.instruction.target, m.softmax_positions
        numbers = sheet.numbers
        begin = scores_read_back(span, m, sheet.last)
        row = np.arange(0, (sheet.last // QUAD + 1) * QUAD, several)
        read = begin + row // several
        address = sheet.signals.by_path["activations.address"]
        sheet.due.constant(read, column["softmax.reading"], 1, 1)
        sheet.due.constant(read, column[address.path], target + row // QUAD, address.width)

        written = read + sheet.latencies.numerator
        values = numbers.segment(site).indices.copy()
        totals = numbers.segment(site, "total").indices
        # Rows that pad the last word are replaced by zero.
        values[sheet.last + 1 :] = ZERO
        self._tap(written, row, (1 << m.heads) - 1, True)
        # Several are added before their sum is.
        added = written + 1 + (several > 1)
        for head in range(m.heads):
            heads = np.full(len(row), head)
            for i, path in enumerate(numerator_paths(m, head)):
                self._written(written, row + i, heads, target)
                self._elements(written, row + i, np.full(len(row), i), heads, row >= 0, values)
                sheet.due.number(written, column[path], values[row + i, head], MANTISSA_BITS)
            sheet.held.number(
                added,
                self._held[f"softmax.total_{head}"],
                totals[row + several - 1, head],
                sheet.signals.by_path[f"softmax.total_{head}"].width,
            )
        over = int(written[-1])
        ready = (int(written[0]) - 1 if m.overlaps else over) + sheet.latencies.reciprocals
        sheet.held.constant(span.start + 1, self._held["softmax.ready"], 0, 1)
        sheet.held.constant(ready, self._held["softmax.ready"], 1, 1)
        reciprocals = numbers.segment(site, "reciprocal").indices
        summed = over + (several > 1)
        known = summed + RECIPROCAL + -(-m.heads // (1 + m.overlaps)) + 2 * m.deep
        column = self._held["softmax.reciprocals"]
        words = -(-m.heads * Scale.size // WORD_BITS)
        sheet.held.unknown(np.full(words, summed + 1), column + np.arange(words))
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

    def _tap(self, cycle, row, heads, numerators: bool) -> None:
        """Expect what is said of scores or numerators from a row on."""
        due, column, m = self._sheet.due, self._column, self._machine
        width = self._sheet.signals.by_path["softmax.tap_position"].width
        due.constant(cycle, column["softmax.tap_valid"], 1, 1, element=row)
        due.constant(cycle, column["softmax.tap_numerators"], numerators, 1, element=row)
        due.constant(cycle, column["softmax.tap_position"], row, width, element=row)
        due.constant(cycle, column["softmax.tap_heads"], heads, m.heads, element=row)

    def _written(self, cycle, row, head, target: int) -> None:
        """Expect one head's score or numerator to be written to the activation memory."""
        due, column = self._sheet.due, self._column
        address = self._sheet.signals.by_path["activations.write_address"]
        place = head * QUAD + row % QUAD
        due.constant(cycle, column["activations.write_enable"], 1, 1, place, element=row)
        word = target + row // QUAD
        due.constant(cycle, column[address.path], word, address.width, element=row)

    def _elements(self, cycle, row, place, head, known, sources) -> None:
        """Expect the scores or numerators that are known, the tap's in a place of their own."""
        due, column, m = self._sheet.due, self._column, self._machine
        cycle, row, place, head = cycle[known], row[known], place[known], head[known]
        source, bits = sources[row, head], m.element_bits
        at = (place * m.heads + head) * bits
        due.number(cycle, column["softmax.tap_scores"], source, bits, at)
        at = (head * QUAD + row % QUAD) * bits
        due.number(cycle, column["activations.write_data"], source, bits, at)

    def _scale(self, column: int, cycle: int, source: np.ndarray, at: int = 0) -> None:
        held = self._sheet.held
        for name, number in zip(("mantissa", "exponent"), source, strict=True):
            field = Scale[name]
            held.number(cycle, column, number, field.width, at + field.offset)
