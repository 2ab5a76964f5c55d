"""How a model knows where its tokens stand: learned embeddings, or ALiBi.

ALiBi adds nothing to the embeddings. It subtracts a penalty from every score that grows linearly
with the distance of key and query, with a slope of its own for each head, so that a model can see
any distance, and old rows can be forgotten. (O. Press, N. Smith, M. Lewis, "Train Short, Test
Long: Attention with Linear Biases Enables Input Length Extrapolation", 2021.)

Slopes are whole octaves, for scores are exponents of two here: in hardware a penalty is a distance,
shifted left, and exact; and a row that is one position older counts for so many powers of two less.
"""

from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gptloom.model.arithmetic import SCORE_FRACTION, Integers

MAX_DISTANCE = 127
"""Distances beyond it are taken for it (7 bits): 64 octaves make every score the lowest one."""


class Positions(StrEnum):
    """How a model knows where its tokens stand."""

    LEARNED = "learned"
    """An embedding for every position, as published: the context is all it can ever see."""
    ALIBI = "alibi"
    """Penalties on scores: no position is the last."""


def slope_shifts(heads: int) -> Integers:
    """Return s of every head, whose slope is ``2**s`` octaves per position: [heads].

    For four heads 2, 1, 1 and 0. Of some sets compared in runs of 3,000 steps on names in a row,
    those that forget as fast were the best; 1/2 to 1/128 octave, near those of the paper, lost
    0.05 nats more.
    """
    return np.rint(np.linspace(2, 0, heads)).astype(np.int64) if heads > 1 else np.zeros(1, int)


def slopes(heads: int) -> NDArray[np.float64]:
    """Return every head's slope in nats per position: [heads]."""
    return np.log(2) * 2.0 ** slope_shifts(heads)


def penalty(distance: ArrayLike, heads: int) -> Integers:
    """Return what a distance takes from a score, in its units: ``[..., heads]``."""
    distance = np.minimum(np.asarray(distance, np.int64), MAX_DISTANCE)
    return distance[..., None] << SCORE_FRACTION + slope_shifts(heads)
