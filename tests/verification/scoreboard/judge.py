"""The first difference between recorded and expected values."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gptloom.sim.engines.base import WORD_BITS
from verification.scoreboard.block import Block
from verification.scoreboard.cells import Words
from verification.scoreboard.control import Run
from verification.scoreboard.reference import Reference


@dataclass(frozen=True)
class Mismatch:
    """The first difference.

    Attributes
    ----------
    cycle
        Clock cycle.
    signal
        Name of the signal.
    layer, step
        The instruction whose value it is, by its names in the program; if nothing was due, the one
        that the sequencer works on.
    element
        Element of the step, and which of its numbers; empty if nothing was due.
    token
        Start, position and token of the token in progress; None between documents.
    expected, seen
        Values of the signal, limited to the bits that are judged.
    """

    cycle: int
    signal: str
    layer: int
    step: str
    element: str
    token: tuple[int, int, int] | None
    expected: int
    seen: int

    def __str__(self) -> str:
        element = f", {self.element}" if self.element else ""
        text = (
            f"cycle {self.cycle}, {self.signal}: layer {self.layer}, step {self.step}{element}: "
            f"expected {self.expected:#x}, seen {self.seen:#x}"
        )
        if self.token:
            start, position, token = self.token
            since = self.cycle - start
            text += f" ({since} cycles into position {position}, token {token})"
        return text


def first_mismatch(
    rows: Words, block: Block, runs: Sequence[Run], reference: Reference
) -> Mismatch | None:
    """Return the first difference in a block, of the signal furthest upstream, or None.

    Parameters
    ----------
    rows
        [cycles, columns], as recorded.
    block
        Expected values.
    runs
        Tokens with values due in it.
    reference
        Reference that names the difference.
    """
    wrong = (rows ^ block.values) & block.masks
    at = np.flatnonzero(wrong.any(axis=1))
    if not len(at):
        return None
    row = int(at[0])
    column = int(np.flatnonzero(wrong[row])[0])
    signal, word = block.signals.owner(column)
    first = column - word
    words = slice(first, first + signal.words)
    expected, seen = (
        sum(int(bits) << (WORD_BITS * i) for i, bits in enumerate(source))
        for source in (block.values[row, words], rows[row, words] & block.masks[row, words])
    )
    cycle = block.begin + row
    under_way = [run for run in runs if run.start <= cycle < run.stop and run.made]
    run = under_way[-1] if under_way else None
    layer, step, element = 0, "no token", ""
    if run:
        layer, step, element = _explain(run, cycle, column, int(wrong[row, column]), reference)
    return Mismatch(
        cycle=cycle,
        signal=signal.path,
        layer=layer,
        step=step,
        element=element,
        token=(run.start, run.position, run.token) if run else None,
        expected=expected,
        seen=seen,
    )


def _explain(
    run: Run, cycle: int, column: int, wrong: int, reference: Reference
) -> tuple[int, str, str]:
    """Return layer, step and element of the difference in a cell."""
    plan, signals = run.made.plan, reference.signals
    row, table = cycle - run.start, plan.due
    cell = row * table.columns + column
    if column in signals.held_columns:
        # A held value was due some time ago.
        table, column = plan.held, signals.held_columns.index(column)
        changes = table.cells[table.cells % table.columns == column]
        changes = changes[changes <= row * table.columns + column]
        cell = int(changes[-1]) if len(changes) else -1
    for source, bits in table.fields_of(cell):
        if bits & wrong:
            segment, place = reference.numbers.name(source)
            if segment.what == "zero":
                break
            what = "element" if segment.what == "value" else segment.what
            return *segment.site.key, f"{what} {', '.join(map(str, place))}"
    label = table.label_of(cell)
    if label is not None:
        owner, element = label
        return owner.layer, owner.step, f"element {element}" if element >= 0 else "control"
    step = plan.step_at(row)
    return step.layer, step.step, "nothing due"
