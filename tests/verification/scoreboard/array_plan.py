"""The MAC array's part of a plan: issues, operands, accumulators."""

from collections.abc import Iterator

import numpy as np

from gptloom.firmware.isa import Kind
from gptloom.firmware.machine import QUAD
from gptloom.firmware.timeline import Span
from gptloom.hdl.folded.layouts import issues
from gptloom.model.sites import Site
from verification.scoreboard.sheet import Sheet
from verification.scoreboard.values import ZERO

READ = 1
"""Cycles from an issue, which presents addresses, to the activation memory's output."""


class ArrayPlan:
    """Plans the MAC array's work, instruction by instruction."""

    def __init__(self, sheet: Sheet):
        self._sheet = sheet
        self._column = sheet.signals.columns
        self._held = sheet.signals.held
        self._machine = sheet.layout.machine
        self._issue = issues(self._machine)
        # Cycles from a quad's issue to the accumulator that includes it; the drain copies it then.
        self._accumulated = sheet.latencies.drain - 1
        # Operands of the family of Llama have a register behind their memory.
        self._operand_read = 2 if self._machine.gated else 1

    def issues(self, operation: int, span: Span) -> None:
        """Expect the sequencer's work: one quad a cycle."""
        due, column, machine = self._sheet.due, self._column, self._machine
        instruction = span.scheduled.instruction
        kind, heads = instruction.kind, machine.heads
        n, k, cycle = self._grid(span)
        broadcast = kind is Kind.MATRIX

        def issue(field: str, value) -> None:
            place = self._issue[field]
            due.constant(cycle, column["sequencer.issue"], value, place.width, place.offset)

        issue("valid", 1)
        issue("first", k == 0)
        issue("last", k == span.quads - 1)
        issue("broadcast", broadcast)
        if broadcast:
            issue("bank", k % heads)
        elif kind is not Kind.START:
            issue("offset", n % machine.passes_per_position)
            if machine.shares > 1:
                issue("share", n % machine.shares)
        if machine.overlaps:
            issue("fresh", self._fresh(span, n))
        self._job(cycle, "sequencer.issue", self._issue["job"].offset, operation, n == 0)
        ends = cycle[:, -1]
        due.constant(ends + self._accumulated, column["mac_array.done"], 1, 1)
        self._job(ends + self._accumulated, "mac_array.job", 0, operation, n[:, -1] == 0)
        if kind is Kind.SCORES:
            due.constant(span.start, column["sequencer.scores_begin"], 1, 1)
        if kind is Kind.START:
            return

        layout = self._sheet.layout
        pass_step, quad_step = {
            Kind.MATRIX: (span.quads, 1),
            Kind.SCORES: (1, layout.key_stride),
            Kind.VALUES: (layout.value_stride, 1),
        }[kind]
        # A word of cached rows serves the passes of all heads that share them.
        steps = n if broadcast else n // machine.shares
        word = instruction.base + steps * pass_step + k * quad_step
        row = instruction.source + (k // heads if broadcast else k)
        due.constant(cycle, column["operands.address"], word, machine.address_bits)
        width = self._sheet.signals.by_path["activations.address"].width
        # Meanwhile the softmax may read there.
        reads = ~self._fresh(span, n)
        due.constant(cycle[reads], column["activations.address"], row[reads], width)

    def row(self) -> None:
        """Expect the token's row of the embedding to be read, in the first cycles of all."""
        sheet = self._sheet
        source = sheet.numbers.segment(sheet.layout.network.embedding, "word").indices
        # The addresses are registered, and so are the words that they lead to, among which is
        # chosen in two cycles, and once more before they become results.
        cycle = sheet.latencies.embed - self._operand_read - 4 + np.arange(len(source))
        column, bits = self._column["operands.address"], self._machine.address_bits
        sheet.due.number(cycle, column, source, bits)

    def operands(self, span: Span) -> None:
        """Expect the multipliers' operands."""
        kind = span.scheduled.instruction.kind
        if kind is Kind.MATRIX:
            self._matrix_operands(span)
        if kind is Kind.SCORES:
            self._score_operands(span)
        if kind is Kind.VALUES:
            self._value_operands(span)

    def accumulators(self, span: Span) -> None:
        """Expect the growing sums, each held until the next quad's."""
        n, k, cycle = self._grid(span)
        site = span.scheduled.step.site
        kind, units = span.scheduled.instruction.kind, self._machine.units
        numbers = self._sheet.numbers
        for unit in range(units):
            column = self._held[f"mac_array.total_{unit}"]
            then = cycle + self._accumulated
            if kind is Kind.START:
                self._sheet.held.unknown(then, column)
                continue
            sums = numbers.segment(site, "sum").indices
            if kind is Kind.MATRIX:
                source = sums[:, :, unit]
                known = np.ones(cycle.shape, bool)
            elif kind is Kind.SCORES:
                number = n * units + unit
                known = number // self._machine.heads <= self._sheet.last
                place = np.minimum(number // self._machine.heads, len(sums) - 1)
                source = sums[place, number % self._machine.heads, k]
            else:
                row = n * units + unit
                known = row < len(sums)
                source = sums[np.minimum(row, len(sums) - 1), k]
            width = self._machine.accumulator_bits
            self._sheet.held.number(then[known], column, source[known], width)
            # Memory beyond the last row may have any contents.
            self._sheet.held.unknown(then[~known], column)

    def _matrix_operands(self, span: Span) -> None:
        due, site = self._sheet.due, span.scheduled.step.site
        _, k, cycle = self._grid(span)
        tiles = self._sheet.numbers.tiles(site)
        for unit in range(self._machine.units):
            for lane in range(QUAD):
                due.constant(
                    cycle + self._operand_read,
                    self._column[f"operands.words__{unit}"],
                    tiles[:, unit, :, lane],
                    self._machine.lane_bits,
                    lane * self._machine.lane_bits,
                )
        source = self._vector(site)
        # Quads are spread over the banks; outputs of the other banks are ignored.
        for lane in range(QUAD):
            self._quad(cycle, k % self._machine.heads, lane, source[k * QUAD + lane])

    def _vector(self, site: Site) -> np.ndarray:
        """Return the numbers of the activation vector that a site's matrix multiplies."""
        layout = self._sheet.layout
        read = layout.network[site.source]
        return self._sheet.numbers.segment(read).indices[layout.order(read)]

    def _score_operands(self, span: Span) -> None:
        sheet, heads, cached = self._sheet, self._machine.heads, self._machine.cached_heads
        n, k, cycle = self._grid(span)
        query, keys = self._factors(span)
        keys = self._padded(sheet.numbers.segment(keys, "cached").indices, cached)
        query = self._padded(sheet.numbers.segment(query).indices[None], heads)[0]
        for unit, number in self._stored(n):
            known = number // cached <= sheet.last
            place = np.minimum(number // cached, sheet.last)
            for lane in range(QUAD):
                source = keys[place, number % cached, k * QUAD + lane]
                self._operand(cycle[known], unit, lane, source[known])
        for head in range(heads):
            for lane in range(QUAD):
                self._quad(cycle, head, lane, query[head, k * QUAD + lane])

    def _factors(self, span: Span) -> tuple[Site, Site]:
        """Return the site that an attention phase reads, and the site of the cached rows."""
        table, site = self._sheet.layout.network, span.scheduled.step.site
        return table[site.source], table[site.rows]

    def _stored(self, passes: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Yield every unit, and the number of what it stores of the passes' keys or values.

        A word of the cache has as many numbers as units; the numbers that the same units multiply
        in one pass after another are stored in neighbours.
        """
        m = self._machine
        together = m.units // m.shares
        for unit in range(m.units):
            place = unit % m.shares * together + unit // m.shares
            yield unit, passes // m.shares * m.units + place

    def _operand(self, cycle: np.ndarray, unit: int, lane: int, source: np.ndarray) -> None:
        """Expect elements of the cache in a unit's words, read for issues in these cycles."""
        column, bits = self._column[f"operands.words__{unit}"], self._machine.lane_bits
        self._sheet.due.number(cycle + self._operand_read, column, source, bits, lane * bits)

    def _value_operands(self, span: Span) -> None:
        sheet = self._sheet
        n, k, cycle = self._grid(span)
        numerators, values = self._factors(span)
        width, order = values.elements, sheet.layout.order(values)
        values = sheet.numbers.segment(values, "cached").indices[:, order]
        for unit, number in self._stored(n):
            for lane in range(QUAD):
                position = k * QUAD + lane
                known = (number < width) & (position <= sheet.last)
                source = values[position, np.minimum(number, width - 1)]
                self._operand(cycle[known], unit, lane, source[known])
        numerators, fresh = sheet.numbers.segment(numerators).indices, self._fresh(span, n)
        for head in range(self._machine.heads):
            for lane in range(QUAD):
                source = numerators[k * QUAD + lane, head]
                self._quad(cycle[~fresh], head, lane, source[~fresh])
                if self._machine.overlaps:
                    self._quad(cycle[fresh], head, lane, source[fresh], "mac_array.numerators")

    def _fresh(self, span: Span, n: np.ndarray) -> np.ndarray:
        """Return whether passes have numerators as they are written, not from the memory."""
        values = span.scheduled.instruction.kind is Kind.VALUES
        return (n == 0) & (values and self._machine.overlaps)

    def _padded(self, rows: np.ndarray, heads: int) -> np.ndarray:
        """Return keys or queries by head, padded to whole quads: [..., heads, elements]."""
        layout = self._sheet.layout
        width = layout.config.head_width
        padded = np.full((len(rows), heads, layout.head_quads * QUAD), ZERO)
        padded[..., :width] = rows.reshape(len(rows), heads, width)
        return padded

    def _quad(self, cycle, bank, lane: int, source, path: str = "activations.quads") -> None:
        """Expect an element in the output of a bank of the activation memory, or beside it."""
        bits = self._machine.element_bits
        column = self._column[path]
        self._sheet.due.number(cycle + READ, column, source, bits, (bank * QUAD + lane) * bits)

    def _job(self, cycle, path: str, at: int, operation: int, opening) -> None:
        due, column = self._sheet.due, self._column[path]
        job = self._issue["job"].shape
        for field, value in (("operation", operation), ("opening", opening)):
            place = job[field]
            due.constant(cycle, column, value, place.width, at + place.offset)

    @staticmethod
    def _grid(span: Span) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return pass, quad and cycle of every issue, each as [passes, quads]."""
        n, k = np.indices((span.passes, span.quads))
        return n, k, span.start + n * span.length + k
