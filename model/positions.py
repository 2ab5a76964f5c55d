"""How a model knows where its tokens stand: learned embeddings, or ALiBi.

ALiBi adds nothing to the embeddings. It subtracts a penalty from every score that grows linearly
with the distance of key and query, with a slope of its own for each head, so that a model can see
any distance, and old rows can be forgotten. (O. Press, N. Smith, M. Lewis, "Train Short, Test
Long: Attention with Linear Biases Enables Input Length Extrapolation", 2021.)

Slopes are powers of two in octaves, for scores are exponents of two here: in hardware a penalty is
a distance, shifted.
"""

from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gptloom.model.arithmetic import SCORE_FRACTION, Integers

MAX_DISTANCE = 4095
"""Distances beyond it are taken for it (12 bits)."""


class Positions(StrEnum):
    """How a model knows where its tokens stand."""

    LEARNED = "learned"
    """An embedding for every position, as published: the context is all it can ever see."""
    ALIBI = "alibi"
    """Penalties on scores: no position is the last."""


def slope_shifts(heads: int) -> Integers:
    """Return s of every head, whose slope is ``2**-s`` octaves per position: [heads].

    For four heads 1, 3, 5, 7: with 0.35 to 0.005 nats per position, 1.4 times those of the paper.
    """
    return 1 + np.arange(heads) * max(1, 8 // heads)


def slopes(heads: int) -> NDArray[np.float64]:
    """Return every head's slope in nats per position: [heads]."""
    return np.log(2) * 2.0 ** -slope_shifts(heads)


def penalty(distance: ArrayLike, heads: int) -> Integers:
    """Return what a distance takes from a score, in its units: ``[..., heads]``, rounded down."""
    distance = np.minimum(np.asarray(distance, np.int64), MAX_DISTANCE)
    return (distance[..., None] << SCORE_FRACTION) >> slope_shifts(heads)
