"""Expected value of every watched signal in every cycle, computed from the core's inputs alone."""

import numpy as np

from verification.scoreboard.block import ALL, Block
from verification.scoreboard.cells import Words
from verification.scoreboard.control import Control, Course, Run, State
from verification.scoreboard.coverage import Coverage
from verification.scoreboard.interface import Interface
from verification.scoreboard.reference import Reference
from verification.scoreboard.signals import STIMULUS, token_paths


class Expectation:
    """Follows a core's inputs and returns its expected values, block of cycles by block.

    It begins at power-on, and needs the inputs of every cycle since then.

    Parameters
    ----------
    reference
        Reference of the model that the core holds.
    coverage
        Coverage to count events in, or None.

    Attributes
    ----------
    signals
        Signals of the columns.
    runs
        Tokens with values due in the last block, or later.
    """

    def __init__(self, reference: Reference, coverage: Coverage | None = None):
        if coverage:
            coverage.restart()
        self._coverage, self._numbers = coverage, reference.numbers
        self.signals = reference.signals
        self.runs: list[Run] = []
        self._control = Control(reference)
        self._interface = Interface(reference.machine, reference.contents)
        count = self.signals.held_count
        self._held = np.zeros(count, np.uint64), np.full(count, ALL)
        self._resets: list[int] = []
        self._states: list[tuple[int, State]] = [(0, State.IDLE)]
        self._widths = self.signals.column_masks()
        self._token = token_paths(reference.machine)

    def use(self, reference: Reference, coverage: Coverage | None = None) -> None:
        """Expect documents of another model from the next block on.

        Parameters
        ----------
        reference
            Reference of that model, on the same machine.
        coverage
            Coverage to count events in from then on.
        """
        self._coverage = coverage
        self._control.reference, self._numbers = reference, reference.numbers
        self._interface.contents = reference.contents

    def advance(self, rows: Words, begin: int) -> Block:
        """Return the expected values of a block of cycles.

        Parameters
        ----------
        rows
            [cycles, columns] as recorded; only the columns of inputs are used.
        begin
            Number of the first cycle; blocks follow each other without a gap.
        """
        inputs = {
            path: np.ascontiguousarray(rows[:, self.signals.columns[path]]) for path in STIMULUS
        }
        course = self._control.advance(inputs, begin, begin + len(rows))
        if self._coverage:
            self._coverage.observe(course, inputs, begin, self._numbers)
        block = Block.blank(self.signals, begin, len(rows))
        self._place_runs(block, course)
        self._interface.place(block, course, inputs)
        for reset in self._resets + course.resets:
            if block.begin <= reset < block.end:
                block.clear(reset)
        for cycle, state in self._states + course.states:
            if block.begin <= cycle < block.end and state in (State.IDLE, State.DROP):
                # Between documents, the next token to start is presented all the time.
                for path in self._token:
                    block.forget(cycle, path)
        # Events in the last cycle show in the next block.
        self._states = course.states[-2:]
        self._resets = course.resets[-1:]
        self._held = block.hold(self._held)
        block.masks &= self._widths
        return block

    def _place_runs(self, block: Block, course: Course) -> None:
        self.runs = [run for run in self.runs + course.runs if _last_cycle(run) >= block.begin]
        for run in self.runs:
            run.stop = min([run.stop, *(reset for reset in course.resets if reset > run.start)])
            first, stop = max(block.begin, run.start), min(block.end, run.stop)
            if first < stop and run.made:
                self._place(block, run, first, stop)
            if first < stop and first == run.start:
                # This holds even if a reset in this cycle keeps the token from computing anything.
                block.values[first - block.begin, block.signals.columns["control.start"]] = 1
                seen = run.token, run.position, run.sample
                for path, value in zip(self._token, seen, strict=True):
                    block.change(first, path, value)

    @staticmethod
    def _place(block: Block, run: Run, first: int, stop: int) -> None:
        """Expect a token in cycles `first` up to `stop`."""
        plan, numbers = run.made.plan, run.made.numbers
        for table, values, masks in (
            (plan.due, block.values, block.masks),
            (plan.held, block.held, block.held_masks),
        ):
            part = table.within(first - run.start, stop - run.start)
            cells = table.cells[part] + (run.start - block.begin) * table.columns
            values.reshape(-1)[cells] = table.fill(numbers)[part]
            masks.reshape(-1)[cells] |= table.masks[part]
            if table is plan.held:
                masks.reshape(-1)[cells] = table.masks[part]
                block.marks.reshape(-1)[cells] = True


def _last_cycle(run: Run) -> int:
    """Return the last cycle in which anything of a token is due."""
    if run.made is None:
        return run.start
    return run.start + max(run.made.plan.due.length, run.made.plan.held.length)
