"""Token rows of a corpus, as training takes them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

Batches = Callable[[int, np.random.Generator], Iterator[np.ndarray]]
"""Returns minibatches without end, of so many rows, chosen by a generator's random numbers."""


@dataclass(frozen=True)
class Rows:
    """Token rows of a corpus for one model, int16 [rows, context + 1], padded with -1.

    Attributes
    ----------
    training
        All that is trained on, once.
    heldout
        All that is measured on, once.
    batches
        Minibatches of what is trained on.
    """

    training: np.ndarray
    heldout: np.ndarray
    batches: Batches

    @classmethod
    def shuffled(cls, training: np.ndarray, heldout: np.ndarray) -> "Rows":
        """Return rows whose minibatches are those of `training`, each once before any repeats."""

        def batches(size: int, random: np.random.Generator) -> Iterator[np.ndarray]:
            order = np.empty(0, dtype=np.int64)
            while True:
                while len(order) < size:
                    order = np.concatenate([order, random.permutation(len(training))])
                yield training[order[:size]]
                order = order[size:]

        return cls(training, heldout, batches)
