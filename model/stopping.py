"""How long to train, when to stop, and which step's weights to keep."""

import math
from collections.abc import Mapping

import numpy as np

EPOCHS = 82
"""Times that each row is seen, unless told otherwise: as often as those of the shipped names."""

FEWEST_STEPS, MOST_STEPS = 50, 14_000
AWARE_SHARE = 3 / 14
"""Quantisation-aware steps for each one in floating point."""

MEASUREMENTS = 50
"""How often the held-out loss is measured, evenly; in between, early on, after 1, 2, 4, ... steps,
for few documents are soon learned by heart."""

RISE = 0.05
"""Nats per token by which a held-out loss is above the lowest when it has risen."""

PATIENCE, LEAST_PATIENCE = 0.1, 10
"""Part of the steps, and at least how many, that a loss may have risen before training stops: far
longer than it rises while the learning rate is high."""


def default_steps(rows: int, batch: int) -> tuple[int, int]:
    """Return steps in floating point, and quantisation-aware ones after those.

    Parameters
    ----------
    rows
        How many there are to train on.
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
        Number of steps before the weights were as they are kept.
    loss
        The lowest measured, in nats per token; infinite before the first.
    weights
        Arrays by name, copies.
    """

    def __init__(self) -> None:
        self.step = 0
        self.loss = math.inf
        self.weights: dict[str, np.ndarray] = {}
        self._near = 0

    def note(self, step: int, loss: float, weights: Mapping[str, np.ndarray]) -> None:
        """Keep the weights if no step before had a loss as low."""
        if loss < self.loss:
            kept = {name: weight.copy() for name, weight in weights.items()}
            # Together, so that an interrupt finds the one with the other.
            self.step, self.loss, self.weights = step, loss, kept
        if loss < self.loss + RISE:
            self._near = step

    def has_passed(self, step: int, steps: int) -> bool:
        """Whether the loss has risen for so long that it will not fall again.

        Parameters
        ----------
        step
            That was noted last.
        steps
            Of the phase in all.
        """
        return step - self._near > max(LEAST_PATIENCE, PATIENCE * steps)
