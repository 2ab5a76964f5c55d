"""The results' part of a plan: from the drain through the requantiser into the memories."""

import numpy as np

from gptloom.firmware.isa import Destination, Kind
from gptloom.firmware.machine import LANE_BITS, QUAD
from gptloom.firmware.timeline import Span
from gptloom.hdl.folded.layouts import Listeners, results
from gptloom.model.arithmetic import ACTIVATION_BITS, LOGIT_BITS
from verification.scoreboard.sheet import Sheet
from verification.scoreboard.values import ZERO


def _bits(*names: str) -> int:
    return sum(1 << Listeners[name].offset for name in names)


LISTENING = {
    Destination.ACTIVATION: _bits("activations"),
    Destination.STREAM: _bits("activations", "stream", "norm"),
    Destination.RESIDUAL: _bits("stream"),
    Destination.KEY: _bits("keys"),
    Destination.VALUE: _bits("values"),
    Destination.LOGITS: _bits("sampler"),
}
"""Blocks that a result is for, as bits of the bus."""


class ResultPlan:
    """Plans the MAC array's results and their destinations.

    Attributes
    ----------
    embedded
        Cycle of the embedding's last results.
    """

    def __init__(self, sheet: Sheet):
        self._sheet = sheet
        self._column = sheet.signals.columns
        self._machine = sheet.layout.machine
        self._layout = results(self._machine)
        writers = self._machine.writers
        self.embedded = sheet.latencies.embed + sheet.layout.config.width // writers - 1

    def embedding(self) -> None:
        """Expect the embedding in activation and stream memory."""
        writers, width = self._machine.writers, self._sheet.layout.config.width
        index = np.arange(0, width, writers)
        cycle = self._sheet.latencies.embed + index // writers
        source = self._sheet.numbers.segment(self._sheet.layout.network.embedding).indices
        operation = self._machine.embedding_operation
        self._result(cycle, index, width, Destination.STREAM, operation, source)
        self._stream(cycle, index, source)
        self._activations(cycle, index, self._sheet.layout.stream, source)

    def results(self, operation: int, span: Span) -> int:
        """Expect an instruction's results, and return the cycle of the last ones."""
        instruction = span.scheduled.instruction
        machine, rows = self._machine, instruction.rows
        index = np.arange(0, rows, machine.writers)
        passes = index // machine.units
        beats = index % machine.units // machine.writers
        drained = (
            span.start + passes * span.length + span.quads - 1 + self._sheet.latencies.drain + beats
        )
        self._drain(span, drained, index)
        written = drained + self._sheet.latencies.result
        source = self._values(span)
        destination = instruction.destination
        self._result(written, index, rows, destination, operation, source)
        if destination in (Destination.STREAM, Destination.RESIDUAL):
            self._stream(written, index, source)
        if destination in (Destination.ACTIVATION, Destination.STREAM):
            self._activations(written, index, instruction.target, source)
        if destination is Destination.KEY:
            self._keys(written, index, instruction.target, source)
        if destination is Destination.VALUE:
            self._cached_values(written, index, instruction.target, source)
        return int(written[-1])

    def _values(self, span: Span) -> np.ndarray:
        """Return the number of each row's result."""
        site, layout = span.scheduled.step.site, self._sheet.layout
        source, order = self._sheet.numbers.segment(site).indices, layout.order(site)
        return np.where(order >= 0, source[order], ZERO)

    def _sums(self, span: Span) -> np.ndarray:
        """Return the number of each row's complete accumulator."""
        sums = self._sheet.numbers.segment(span.scheduled.step.site, "sum").indices
        if span.scheduled.instruction.kind is Kind.VALUES:
            return sums[:, span.quads - 1]
        return sums[:, -1].ravel()

    def _drain(self, span: Span, cycle: np.ndarray, index: np.ndarray) -> None:
        due, column, writers = self._sheet.due, self._column, self._machine.writers
        rows = span.scheduled.instruction.rows
        enable = _enabled(index, rows, writers)
        due.constant(cycle, column["drain.o__valid"], 1, 1, element=index)
        due.constant(cycle, column["drain.o__enable"], enable, writers, element=index)
        due.constant(cycle, column["drain.o__index"], index, self._machine.row_bits, element=index)
        due.constant(cycle, column["drain.o__last"], index + writers >= rows, 1, element=index)
        if span.scheduled.instruction.kind is not Kind.START:
            sums = self._sums(span)
            width = self._machine.accumulator_bits
            for i in range(writers):
                there = index + i < rows
                path = f"drain.o__sums__{i}"
                due.number(cycle[there], column[path], sums[index[there] + i], width)

    def _result(self, cycle, index, rows: int, destination, operation: int, source) -> None:
        due, writers = self._sheet.due, self._machine.writers
        column = self._column["writeback.o__beat"]
        for name, value in (
            ("enable", _enabled(index, rows, writers)),
            ("index", index),
            ("last", index + writers >= rows),
            ("to", LISTENING[destination]),
            ("operation", operation),
        ):
            field = self._layout[name]
            due.constant(cycle, column, value, field.width, field.offset, element=index)
        for i in range(writers):
            there = index + i < rows
            at = self._layout["values"].offset + i * LOGIT_BITS
            due.number(cycle[there], column, source[index[there] + i], LOGIT_BITS, at)

    def _stream(self, cycle, index, source) -> None:
        due, column, writers = self._sheet.due, self._column, self._machine.writers
        address = self._sheet.signals.by_path["stream.write_address"]
        due.constant(
            cycle, column["stream.write_enable"], (1 << writers) - 1, writers, element=index
        )
        due.constant(cycle, column[address.path], index // writers, address.width, element=index)
        for i in range(writers):
            at = i * ACTIVATION_BITS
            due.number(cycle, column["stream.write_data"], source[index + i], ACTIVATION_BITS, at)

    def _activations(self, cycle, index, target: int, source) -> None:
        """Expect activations: element j is in bank j // 4 % heads, whatever the word."""
        due, column = self._sheet.due, self._column
        elements, rows = self._machine.heads * QUAD, len(source)
        address = self._sheet.signals.by_path["activations.write_address"]
        place = index % elements
        enable = _enabled(index, rows, self._machine.writers) << place
        due.constant(cycle, column["activations.write_enable"], enable, elements, element=index)
        row = target + index // elements
        due.constant(cycle, column[address.path], row, address.width, element=index)
        for i in range(self._machine.writers):
            there = index + i < rows
            at = (place[there] + i) * ACTIVATION_BITS
            values = source[index[there] + i]
            due.number(cycle[there], column["activations.write_data"], values, ACTIVATION_BITS, at)

    def _keys(self, cycle, index, target: int, source) -> None:
        """Expect keys: each fills the lanes of one unit; positions and heads follow each other."""
        m, layout = self._machine, self._sheet.layout
        number = self._sheet.position * m.heads + index // QUAD % m.heads
        group = index // (QUAD * m.heads)
        word = target + group * layout.key_stride + number // m.units
        lanes = [index % QUAD + i for i in range(m.writers)]
        self._words(cycle, index, word, [number % m.units] * m.writers, lanes, source)

    def _cached_values(self, cycle, index, target: int, source) -> None:
        """Expect values: each fills one lane of consecutive units; four positions are a word."""
        m, layout = self._machine, self._sheet.layout
        position = self._sheet.position
        word = target + index // m.units * layout.value_stride + position // QUAD
        units = [(index + i) % m.units for i in range(m.writers)]
        lanes = [np.full(len(index), position % QUAD)] * m.writers
        self._words(cycle, index, word, units, lanes, source)

    def _words(self, cycle, index, word, units, lanes, source) -> None:
        due, column = self._sheet.due, self._column
        due.constant(
            cycle, column["operands.write_address"], word, self._machine.address_bits, element=index
        )
        enables = np.array(
            [column[f"operands.write_enable__{u}"] for u in range(self._machine.units)]
        )
        datas = np.array([column[f"operands.write_data__{u}"] for u in range(self._machine.units)])
        for i in range(self._machine.writers):
            there = index + i < len(source)
            now, unit, lane = cycle[there], units[i][there], lanes[i][there]
            element = index[there] + i
            due.constant(now, enables[unit], 1, 1, lane, element=element)
            at = lane * LANE_BITS
            due.number(now, datas[unit], source[element], LANE_BITS, at)


def _enabled(index: np.ndarray, rows: int, writers: int) -> np.ndarray:
    """Return which of the writers have a row, as bits."""
    return sum((index + i < rows).astype(np.int64) << i for i in range(writers))
