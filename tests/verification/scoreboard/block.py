"""A block of cycles with everything that is expected in it."""

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
        [cycles, columns]: what is expected, and which bits of it.
    held, held_masks, marks
        The same for held signals alone: `marks` is where they change.
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
        """Expect a value of a signal of one column in every cycle."""
        self.values[:, self.signals.columns[path]] = values

    def change(self, cycle: int, path: str, value: int) -> None:
        """Let a held signal change."""
        place = cycle - self.begin, self.signals.held[path]
        self.held[place], self.held_masks[place], self.marks[place] = value, ALL, True

    def forget(self, cycle: int, path: str) -> None:
        """Let a held signal be anything from a cycle on."""
        place = cycle - self.begin, self.signals.held[path]
        self.held[place], self.held_masks[place], self.marks[place] = 0, 0, True

    def clear(self, cycle: int) -> None:
        """Let all held signals be as after a reset."""
        row = cycle - self.begin
        self.held[row], self.marks[row] = 0, True
        self.held_masks[row] = np.where(self.signals.held_resets, ALL, np.uint64(0))

    def hold(self, before: tuple[Words, Words]) -> tuple[Words, Words]:
        """Let held signals keep what they changed to, and return what they are at the end.

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
