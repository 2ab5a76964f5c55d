"""A few numbers that tell whether weights still compute the same as when they were saved."""

from collections.abc import Mapping, Sequence

import numpy as np

from gptloom.model.config import ModelConfig
from gptloom.model.float_model import FloatModel

_WAVES = 4
"""Count of numbers in a fingerprint."""

_TOKENS = 128
"""Most tokens and most positions of the forward pass, so that loading stays fast."""

_TOLERANCE = 1e-6
"""Larger than the differences between machines, smaller than those of any change that matters."""


def fingerprint(config: ModelConfig, weights: Mapping[str, np.ndarray]) -> list[float]:
    """Return sums over the logits of a forward pass that sees every token and position.

    If there are more than 128, it sees the first positions, and tokens spread evenly.

    Parameters
    ----------
    config, weights
        The network, as :class:`.FloatModel` takes it.

    Returns
    -------
    list of float
        Every logit counts with a factor of its own in each sum: a transposed matrix, exchanged
        tensors or another number of heads all show.
    """
    positions, count = min(config.context, _TOKENS), min(config.vocabulary, _TOKENS)
    seen = np.arange(count) * config.vocabulary // count
    tokens = np.resize(seen, (-(-count // positions), positions))
    logits = FloatModel(config, weights).logits(tokens).ravel()
    # The period of these waves is not a whole number, so that no two logits count alike.
    factors = np.cos(np.multiply.outer(np.arange(1, _WAVES + 1), np.arange(logits.size)))
    # Rounded more finely than the comparison, so that equal checkpoints are equal files.
    return [round(float(value), 9) for value in factors @ logits / np.sqrt(logits.size)]


def same_fingerprint(one: Sequence[float], other: Sequence[float]) -> bool:
    """Tell whether two fingerprints are of the same weights, whatever machines made them."""
    return len(one) == len(other) and np.allclose(one, other, rtol=_TOLERANCE, atol=_TOLERANCE)
