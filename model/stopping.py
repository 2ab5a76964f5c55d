"""Rules for how long to train, when to stop, and which step's weights to keep."""

import math
from collections.abc import Mapping

import numpy as np

EPOCHS = 82
"""Default number of times that each row is seen: as often as for the shipped names."""

FEWEST_STEPS, MOST_STEPS = 50, 14_000
AWARE_SHARE = 3 / 14
"""Quantisation-aware steps per step in floating point."""

MEASUREMENTS = 50
"""Number of measurements of the held-out loss, evenly spaced; early on also after 1, 2, 4, ...
steps, because few documents are soon learned by heart."""

RISE = 0.05
"""Rise of a held-out loss above the lowest, in nats per token, that counts as risen."""

PATIENCE, LEAST_PATIENCE = 0.1, 10
"""Share of the steps, and their least number, for which a loss may have risen before training
stops: far longer than it rises while the learning rate is high."""


def default_steps(rows: int, batch: int) -> tuple[int, int]:
    """Return the steps in floating point, and the quantisation-aware ones that follow.

    Parameters
    ----------
    rows
        Number of rows to train on.
    batch
        Rows per step.
    """
    steps = min(max(math.ceil(EPOCHS * rows / batch), FEWEST_STEPS), MOST_STEPS)
    return steps, round(AWARE_SHARE * steps)


def measured_steps(steps: int) -> set[int]:
    """Return the steps, counted from 1, after which the held-out loss is measured."""
    every = max(1, steps // MEASUREMENTS)
    early = {1 << power for power in range(every.bit_length()) if 1 << power <= steps}
    return {*range(every, steps + 1, every), *early, steps}


class Best:
    """The step with the lowest held-out loss of a phase of training, and its weights.

    Attributes
    ----------
    step
        Number of steps after which the kept weights were reached.
    loss
        Lowest loss measured, in nats per token; infinite before the first.
    weights
        Copies of the weights, arrays by name.
    """

    def __init__(self) -> None:
        self.step = 0
        self.loss = math.inf
        self.weights: dict[str, np.ndarray] = {}
        self._near = 0

    def note(self, step: int, loss: float, weights: Mapping[str, np.ndarray]) -> None:
        """Keep the weights if no earlier step had a loss as low."""
        if loss < self.loss:
            kept = {name: weight.copy() for name, weight in weights.items()}
            # Assigned together, so that an interrupt finds them consistent.
            self.step, self.loss, self.weights = step, loss, kept
        if loss < self.loss + RISE:
            self._near = step

    def has_passed(self, step: int, steps: int) -> bool:
        """Tell whether the loss has risen for so long that it will not fall again.

        Parameters
        ----------
        step
            Step that was noted last.
        steps
            Total steps of the phase.
        """
        return step - self._near > max(LEAST_PATIENCE, PATIENCE * steps)
