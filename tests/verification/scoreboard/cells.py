"""Expected values by cycle and column: planned once for a token, filled in many times."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gptloom.model.arithmetic import Integers
from gptloom.sim.engines.base import WORD_BITS
from verification.scoreboard.signals import Words

_CONSTANT = -1


@dataclass(frozen=True)
class Label:
    """Source of an expected value, for reports.

    Attributes
    ----------
    layer, step
        The instruction, by its name in the program.
    """

    layer: int
    step: str


@dataclass
class Table:
    """Expected values relative to a token's start.

    A cell is one column in one cycle. It consists of fields: constant bits, or one of the token's
    numbers (:class:`.TokenNumbers`).

    Attributes
    ----------
    columns
        Number of columns.
    length
        Number of cycles.
    cells
        Index of each cell, ``cycle * columns + column``, ascending.
    masks, constants
        Bits that are judged, and their constant part, for each cell.
    filled, starts
        Cells that have numbers, and the start of each one's fields in the arrays that follow.
    sources, dropped, widths, shifts
        Index of the number, low bits dropped, mask of the field's width, and position in the cell,
        for each field.
    label_cells, labels
        Cells of constant fields, and the label of each, for reports.
    """

    columns: int
    length: int
    cells: Integers
    masks: Words
    constants: Words
    filled: Integers
    starts: Integers
    sources: Integers
    dropped: NDArray[np.int64]
    widths: Words
    shifts: Words
    label_cells: Integers
    labels: Sequence[tuple[Label, int]]

    def fill(self, numbers: Integers) -> Words:
        """Return the value of every cell, for a token's numbers."""
        values = self.constants.copy()
        if len(self.starts):
            fields = (numbers[self.sources] >> self.dropped).view(np.uint64)
            fields &= self.widths
            fields <<= self.shifts
            # Fields of one cell do not overlap: their sum is their union.
            values[self.filled] += np.add.reduceat(fields, self.starts)
        return values

    def within(self, first: int, stop: int) -> slice:
        """Return the cells in cycles `first` up to `stop`."""
        low, high = np.searchsorted(self.cells, (first * self.columns, stop * self.columns))
        return slice(int(low), int(high))

    def fields_of(self, cell: int) -> list[tuple[int, int]]:
        """Return source and bits, within the column, of the numbers in a cell."""
        at = int(np.searchsorted(self.cells, cell))
        if at == len(self.cells) or self.cells[at] != cell:
            return []
        where = np.flatnonzero(self.filled == at)
        if not len(where):
            return []
        stop = [*self.starts[1:], len(self.sources)][where[0]]
        return [
            (int(self.sources[i]), int(self.widths[i]) << int(self.shifts[i]))
            for i in range(int(self.starts[where[0]]), int(stop))
        ]

    def label_of(self, cell: int) -> tuple[Label, int] | None:
        """Return the label of a cell's constants, and their element (-1 if none)."""
        at = int(np.searchsorted(self.label_cells, cell))
        if at < len(self.label_cells) and self.label_cells[at] == cell:
            return self.labels[at]
        return None


@dataclass
class TableMaker:
    """Collects fields; array arguments broadcast against each other.

    Attributes
    ----------
    columns
        Columns of the table.
    label
        Label of the fields added next.
    """

    columns: int
    label: Label = field(default_factory=lambda: Label(0, ""))
    _fields: list[tuple[NDArray, ...]] = field(default_factory=list)
    _labels: list[tuple[NDArray, Label, NDArray]] = field(default_factory=list)

    def constant(
        self,
        cycles: ArrayLike,
        column: ArrayLike,
        value: ArrayLike,
        width: int,
        at: ArrayLike = 0,
        element: ArrayLike = -1,
    ) -> None:
        """Expect `value` in `width` bits from bit `at` of the signal that begins at `column`."""
        self._put(cycles, column, _CONSTANT, value, width, at)
        cells = np.asarray(cycles) * self.columns + column + np.asarray(at) // WORD_BITS
        cells, element = np.broadcast_arrays(cells, element)
        self._labels.append((cells.ravel(), self.label, element.ravel()))

    def number(
        self, cycles: ArrayLike, column: ArrayLike, source: ArrayLike, width: int, at: ArrayLike = 0
    ) -> None:
        """Expect the token's number `source` in that place."""
        self._put(cycles, column, source, 0, width, at)

    def unknown(self, cycles: ArrayLike, column: ArrayLike) -> None:
        """Expect nothing of a signal that would otherwise be held."""
        self._put(cycles, column, _CONSTANT, 0, 0, 0)

    def table(self) -> Table:
        """Return the table of all fields, sorted."""
        empty = [np.zeros(0, np.int64)] * 6
        groups = zip(*(self._fields or [tuple(empty)]), strict=True)
        cells, sources, values, dropped, widths, shifts = map(np.concatenate, groups)
        order = np.argsort(cells, kind="stable")
        cells, sources, values = cells[order], sources[order], values[order]
        dropped, shifts = dropped[order], shifts[order].astype(np.uint64)
        ones = _ones(widths[order])

        distinct, firsts = np.unique(cells, return_index=True)
        masks = np.zeros(len(distinct), np.uint64)
        constants = np.zeros(len(distinct), np.uint64)
        known = (values >> dropped).view(np.uint64) & ones
        if len(distinct):
            masks = np.bitwise_or.reduceat(ones << shifts, firsts)
            constants = np.bitwise_or.reduceat(
                np.where(sources == _CONSTANT, known << shifts, np.uint64(0)), firsts
            )
        numbers = (sources != _CONSTANT) & (ones != 0)
        place = np.searchsorted(distinct, cells[numbers])
        filled, starts = np.unique(place, return_index=True)
        label_cells, labels = self._labelled()
        return Table(
            columns=self.columns,
            length=int(distinct[-1]) // self.columns + 1 if len(distinct) else 0,
            cells=distinct,
            masks=masks,
            constants=constants,
            filled=filled,
            starts=starts,
            sources=sources[numbers],
            dropped=dropped[numbers],
            widths=ones[numbers],
            shifts=shifts[numbers],
            label_cells=label_cells,
            labels=labels,
        )

    def _put(self, cycles, column, source, value, width, at) -> None:
        cycles, column, source, value, at = np.broadcast_arrays(cycles, column, source, value, at)
        cells = cycles * self.columns + column + at // WORD_BITS
        shifts, zeros = at % WORD_BITS, np.zeros(cells.shape, np.int64)
        low = np.minimum(width, WORD_BITS - shifts)
        self._add(cells, source, value, zeros, low, shifts)
        over = width > low
        if over.any():
            # The upper part of the field belongs to the next column.
            high = (cells + 1, source, value, low, width - low, zeros)
            self._add(*(part[over] for part in high))

    def _add(self, *parts: NDArray) -> None:
        self._fields.append(tuple(part.astype(np.int64).ravel() for part in parts))

    def _labelled(self) -> tuple[Integers, list[tuple[Label, int]]]:
        if not self._labels:
            return np.zeros(0, np.int64), []
        cells = np.concatenate([cells for cells, _, _ in self._labels])
        owners = [(label, int(e)) for _, label, elements in self._labels for e in elements]
        distinct, firsts = np.unique(cells, return_index=True)
        return distinct, [owners[i] for i in firsts]


def _ones(widths: Integers) -> Words:
    """Return masks of 0 to 64 ones."""
    full = np.uint64((1 << WORD_BITS) - 1)
    shift = np.where(widths > 0, WORD_BITS - widths, 0).astype(np.uint64)
    return np.where(widths > 0, full >> shift, np.uint64(0))
