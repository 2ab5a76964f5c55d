"""The results' part of a plan: from the drain through the requantiser into the memories."""

import numpy as np

from gptloom.firmware.isa import Destination, Function, Kind
from gptloom.firmware.machine import EXPONENT_ROW_BITS, QUAD, Machine
from gptloom.firmware.timeline import Span
from gptloom.hdl.folded.layouts import Listeners, results
from gptloom.model.arithmetic import LOGIT_BITS, SILU_RESULT_BITS
from gptloom.model.sites import Kind as SiteKind
from verification.scoreboard.sheet import Sheet
from verification.scoreboard.signals import TURN_BITS
from verification.scoreboard.values import ZERO

FUNCTIONS = 2
"""Cycles from scaled sums, of gated machines, to the results of their functions."""


def listeners(machine: Machine, destination: Destination) -> tuple[str, ...]:
    """Return the blocks that a result is for, by their names on the bus."""
    if destination is Destination.STREAM and machine.gated:
        # Its norms are values of their own, and nothing else reads the stream.
        return "stream", "norm"
    return {
        Destination.ACTIVATION: ("activations",),
        Destination.STREAM: ("activations", "stream", "norm"),
        Destination.RESIDUAL: ("stream",),
        Destination.KEY: ("keys",),
        Destination.VALUE: ("values",),
        Destination.GATE: ("gates",),
        Destination.LOGITS: ("sampler",),
    }[destination]


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
        """Expect the embedding, or weights that are to become one."""
        sheet, writers = self._sheet, self._machine.writers
        width, site = sheet.layout.config.width, sheet.layout.network.embedding
        index = np.arange(0, width, writers)
        cycle = sheet.latencies.embed + index // writers
        to = listeners(self._machine, Destination.STREAM)
        source = sheet.numbers.segment(site).indices
        if site.shifted:
            to, source = ("stream",), sheet.numbers.segment(site, "raw").indices
        self._result(cycle, index, width, to, self._machine.embedding_operation, source)
        self._delivered(cycle, index, to, sheet.layout.stream, source)

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
        if machine.gated:
            self._with_sums(span, drained, index)
            self._scaled(span, written - FUNCTIONS, index)
        source = self._values(span)
        to = listeners(machine, instruction.destination)
        # The memory of gates has values of its own.
        seen = self._before(span) if instruction.function is Function.SILU else source
        self._result(written, index, rows, to, operation, seen)
        self._delivered(written, index, to, instruction.target, source)
        return int(written[-1])

    def _delivered(self, cycle, index, to: tuple[str, ...], target: int, source) -> None:
        """Expect results in the memories of the blocks that they are for."""
        if "stream" in to:
            self._beside("stream", cycle, index, source, self._machine.precision.stream)
        if "gates" in to:
            self._beside("gates", cycle, index, source, SILU_RESULT_BITS)
        if "activations" in to:
            self._activations(cycle, index, target, source)
        if "keys" in to:
            self._keys(cycle, index, target, source)
        if "values" in to:
            self._cached_values(cycle, index, target, source)

    def _values(self, span: Span, what: str = "value") -> np.ndarray:
        """Return the number of each row's result."""
        site, layout = span.scheduled.step.site, self._sheet.layout
        source, order = self._sheet.numbers.segment(site, what).indices, layout.order(site)
        return np.where(order >= 0, source[order], ZERO)

    def _before(self, span: Span) -> np.ndarray:
        """Return the number of each row's scaled sum, before a function."""
        return self._values(span, "scaled" if span.scheduled.step.site.shifted else "value")

    def _with_sums(self, span: Span, cycle: np.ndarray, index: np.ndarray) -> None:
        """Expect shifts of rows, and gains, in the cycles of their sums."""
        sheet, writers, site = self._sheet, self._machine.writers, span.scheduled.step.site
        model, order = sheet.numbers.model, sheet.layout.order(site)
        column, bits = self._column["exponents.o"], EXPONENT_ROW_BITS
        if site.kind is SiteKind.EMBEDDING:
            (source,) = sheet.numbers.segment(site, "exponent").indices
            for i in range(writers):
                sheet.due.number(cycle, column, source, bits, i * bits)
        else:
            exponents = np.zeros(len(order) + writers, np.int64)
            if site.matrix:
                rows = model.row_shifts[site.matrix.name]
                exponents[: len(order)] = np.where(order >= 0, rows[order], 0)
            for i in range(writers):
                sheet.due.constant(
                    cycle, column, exponents[index + i], bits, i * bits, element=index + i
                )
        if site.gain:
            bits, gains = self._machine.precision.weights, model.weights[site.gain.name][0]
            for i in range(writers):
                there = index + i < len(gains)
                sheet.due.constant(
                    cycle[there], self._column["gains.elements"], gains[index[there] + i], bits,
                    i * bits, element=index[there] + i,
                )  # fmt: skip

    def _scaled(self, span: Span, cycle: np.ndarray, index: np.ndarray) -> None:
        """Expect scaled sums before their functions, and the angles of those that are turned."""
        sheet, site = self._sheet, span.scheduled.step.site
        source = self._before(span)
        for i in range(self._machine.writers):
            there = index + i < len(source)
            values = source[index[there] + i]
            column = self._column["writeback.functions.i"]
            sheet.due.number(cycle[there], column, values, LOGIT_BITS, i * LOGIT_BITS)
        if not site.rotated:
            return
        turns = sheet.numbers.segment(sheet.layout.network.embedding, "turn").indices
        width = sheet.layout.config.head_width
        first = index // QUAD // (site.elements // width) * QUAD // 2
        for pair in range(QUAD // 2):
            there = first + pair < turns.shape[1]
            for number, part in enumerate(turns):
                values = part[first[there] + pair]
                at = (2 * pair + number) * TURN_BITS
                sheet.due.number(
                    cycle[there], self._column["rotation.turns"], values, TURN_BITS, at
                )

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

    def _result(self, cycle, index, rows: int, to, operation: int, source) -> None:
        due, writers = self._sheet.due, self._machine.writers
        column = self._column["writeback.o__beat"]
        for name, value in (
            ("enable", _enabled(index, rows, writers)),
            ("index", index),
            ("last", index + writers >= rows),
            ("to", sum(1 << Listeners[name].offset for name in to)),
            ("operation", operation),
        ):
            field = self._layout[name]
            due.constant(cycle, column, value, field.width, field.offset, element=index)
        for i in range(writers):
            there = index + i < rows
            at = self._layout["values"].offset + i * LOGIT_BITS
            due.number(cycle[there], column, source[index[there] + i], LOGIT_BITS, at)

    def _beside(self, memory: str, cycle, index, source, bits: int) -> None:
        """Expect elements in a memory that is read beside sums."""
        due, column, writers = self._sheet.due, self._column, self._machine.writers
        address = self._sheet.signals.by_path[f"{memory}.write_address"]
        enable = _enabled(index, len(source), writers)
        due.constant(cycle, column[f"{memory}.write_enable"], enable, writers, element=index)
        due.constant(cycle, column[address.path], index // writers, address.width, element=index)
        for i in range(writers):
            there = index + i < len(source)
            values = source[index[there] + i]
            due.number(cycle[there], column[f"{memory}.write_data"], values, bits, i * bits)

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
            bits = self._machine.element_bits
            at = (place[there] + i) * bits
            values = source[index[there] + i]
            due.number(cycle[there], column["activations.write_data"], values, bits, at)

    def _keys(self, cycle, index, target: int, source) -> None:
        """Expect keys: each fills the lanes of one unit; rows and heads follow each other."""
        m, layout, heads = self._machine, self._sheet.layout, self._machine.cached_heads
        number = self._sheet.row * heads + index // QUAD % heads
        group = index // (QUAD * heads)
        word = target + group * layout.key_stride + number // m.units
        lanes = [index % QUAD + i for i in range(m.writers)]
        self._words(cycle, index, word, [number] * m.writers, lanes, source)

    def _cached_values(self, cycle, index, target: int, source) -> None:
        """Expect values: each number fills one lane of a unit; four rows are a word."""
        m, layout, row = self._machine, self._sheet.layout, self._sheet.row
        word = target + index // m.units * layout.value_stride + row // QUAD
        numbers = [index + i for i in range(m.writers)]
        lanes = [np.full(len(index), row % QUAD)] * m.writers
        self._words(cycle, index, word, numbers, lanes, source)

    def _words(self, cycle, index, word, numbers, lanes, source) -> None:
        """Expect every writer's element in the unit that stores its number, in one of its lanes."""
        due, column, m = self._sheet.due, self._column, self._machine
        # Units that share numbers are neighbours, and take turns: each stores the next ones.
        place = [number % m.units for number in numbers]
        together = m.units // m.shares
        units = [p % together * m.shares + p // together for p in place]
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
            bits = m.lane_bits
            due.number(now, datas[unit], source[element], bits, lane * bits)


def _enabled(index: np.ndarray, rows: int, writers: int) -> np.ndarray:
    """Return which of the writers have a row, as bits."""
    return sum((index + i < rows).astype(np.int64) << i for i in range(writers))
