"""Encodings of the tokens' positions: learned embeddings, ALiBi, or rotations.

ALiBi adds nothing to the embeddings. It subtracts a penalty from every score that grows linearly
with the distance of key and query, with a slope of its own for each head, so that a model can see
any distance, and old rows can be forgotten. (O. Press, N. Smith, M. Lewis, "Train Short, Test
Long: Attention with Linear Biases Enables Input Length Extrapolation", 2021.)

Slopes are whole octaves, because scores are exponents of two here: in hardware a penalty is a
shifted distance, and exact; and a row that is one position older has its weight divided by a fixed
power of two.

Rotary positions turn every pair of a query's and a key's elements by an angle that grows with the
position, so that a score depends on the distance. (J. Su et al., "RoFormer: Enhanced Transformer
with Rotary Position Embedding", 2021.)
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
    ROTARY = "rotary"
    """Rotations of queries and keys: positions have no limit, but training saw the first only."""


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


def angles(positions: ArrayLike, head_width: int, base: float) -> NDArray[np.float64]:
    """Return the angle of every pair of a head's elements in radians: ``[..., head_width / 2]``.

    Parameters
    ----------
    positions
        Integers of any shape.
    head_width
        Elements of a head's query.
    base
        Ratio of the fastest rotation to the slowest but one pair; ``rope_theta`` elsewhere.
    """
    speeds = base ** -(np.arange(0, head_width, 2) / head_width)
    return np.multiply.outer(np.asarray(positions, np.float64), speeds)
