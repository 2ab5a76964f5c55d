"""A block of cycles with all its expected values."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from verification.scoreboard.cells import Words
from verification.scoreboard.signals import Signals

ALL = np.uint64((1 << 64) - 1)


@dataclass
class Block:
    """Expected values of consecutive cycles.

    Attributes
    ----------
    begin
        Number of the first cycle.
    values, masks
        [cycles, columns]: expected values, and the bits to compare.
    held, held_masks, marks
        The same for held signals alone; `marks` is set where they change.
    """

    signals: Signals
    begin: int
    values: Words
    masks: Words
    held: Words
    held_masks: Words
    marks: NDArray[np.bool_]

    @classmethod
    def blank(cls, signals: Signals, begin: int, cycles: int) -> "Block":
        """Return a block in which nothing is due."""
        always = signals.always()
        held = np.zeros((cycles, signals.held_count), np.uint64)
        return cls(
            signals=signals,
            begin=begin,
            values=np.zeros((cycles, signals.count), np.uint64),
            masks=np.broadcast_to(always, (cycles, signals.count)).copy(),
            held=held,
            held_masks=held.copy(),
            marks=np.zeros(held.shape, bool),
        )

    @property
    def end(self) -> int:
        """Number of the cycle after the last one."""
        return self.begin + len(self.values)

    def expect(self, path: str, values: NDArray) -> None:
        """Expect values of a signal of one column, one in every cycle."""
        self.values[:, self.signals.columns[path]] = values

    def change(self, cycle: int, path: str, value: int) -> None:
        """Expect a held signal to change."""
        place = cycle - self.begin, self.signals.held[path]
        self.held[place], self.held_masks[place], self.marks[place] = value, ALL, True

    def forget(self, cycle: int, path: str) -> None:
        """Expect nothing of a held signal from a cycle on."""
        place = cycle - self.begin, self.signals.held[path]
        self.held[place], self.held_masks[place], self.marks[place] = 0, 0, True

    def clear(self, cycle: int) -> None:
        """Expect all held signals to be as after a reset."""
        row = cycle - self.begin
        self.held[row], self.marks[row] = 0, True
        self.held_masks[row] = np.where(self.signals.held_resets, ALL, np.uint64(0))

    def hold(self, before: tuple[Words, Words]) -> tuple[Words, Words]:
        """Expect held signals to keep their values between changes; return those at the end.

        Parameters
        ----------
        before
            Values and masks before the first cycle.
        """
        values = np.concatenate([before[0][None], self.held])
        masks = np.concatenate([before[1][None], self.held_masks])
        rows = np.arange(1, len(values))[:, None]
        latest = np.maximum.accumulate(np.where(self.marks, rows, 0), axis=0)
        columns = self.signals.held_columns
        self.values[:, columns] = np.take_along_axis(values, latest, axis=0)
        self.masks[:, columns] = np.take_along_axis(masks, latest, axis=0)
        return self.values[-1, columns], self.masks[-1, columns]
