"""Encodings of the tokens' positions: learned embeddings, or ALiBi.

ALiBi adds nothing to the embeddings. It subtracts a penalty from every score that grows linearly
with the distance of key and query, with a slope of its own for each head, so that a model can see
any distance, and old rows can be forgotten. (O. Press, N. Smith, M. Lewis, "Train Short, Test
Long: Attention with Linear Biases Enables Input Length Extrapolation", 2021.)

Slopes are whole octaves, because scores are exponents of two here: in hardware a penalty is a
shifted distance, and exact; and a row that is one position older has its weight divided by a fixed
power of two.
"""

from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gptloom.model.arithmetic import SCORE_FRACTION, Integers

MAX_DISTANCE = 127
"""Larger distances are replaced by it (7 bits): 64 octaves make every score the lowest one."""


class Positions(StrEnum):
    """Encodings of the tokens' positions."""

    LEARNED = "learned"
    """An embedding for every position, as published: the model can never see beyond its context."""
    ALIBI = "alibi"
    """Penalties on scores: positions have no limit."""


def slope_shifts(heads: int) -> Integers:
    """Return s of every head, whose slope is ``2**s`` octaves per position: [heads].

    For four heads it is 2, 1, 1 and 0. Among several sets compared in runs of 3,000 steps on names
    in a row, those that forget as fast were the best; 1/2 to 1/128 octave, near those of the paper,
    lost 0.05 nats more.
    """
    return np.rint(np.linspace(2, 0, heads)).astype(np.int64) if heads > 1 else np.zeros(1, int)


def slopes(heads: int) -> NDArray[np.float64]:
    """Return every head's slope in nats per position: [heads]."""
    return np.log(2) * 2.0 ** slope_shifts(heads)


def penalty(distance: ArrayLike, heads: int) -> Integers:
    """Return the penalty of a distance, in units of scores: ``[..., heads]``."""
    distance = np.minimum(np.asarray(distance, np.int64), MAX_DISTANCE)
    return distance[..., None] << SCORE_FRACTION + slope_shifts(heads)
