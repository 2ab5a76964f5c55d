"""A few numbers that tell whether weights still compute what they did when they were saved."""

from collections.abc import Mapping, Sequence

import numpy as np

from gptloom.model.config import ModelConfig
from gptloom.model.float_model import FloatModel

_WAVES = 4
"""Numbers in a fingerprint."""

_TOKENS = 128
"""Most tokens and most positions of the forward pass, so that loading stays fast."""

_TOLERANCE = 1e-6
"""Between what machines make of the same weights, and what a change of any importance makes."""


def fingerprint(config: ModelConfig, weights: Mapping[str, np.ndarray]) -> list[float]:
    """Return sums over the logits of a forward pass that sees every token and position.

    Where there are more than 128 it sees the first positions, and tokens spread evenly.

    Parameters
    ----------
    config, weights
        The network, as :class:`.FloatModel` takes it.

    Returns
    -------
    list of float
        Every logit counts with a factor of its own in each sum: a transposed matrix, tensors in
        each other's place or another number of heads all show.
    """
    positions, count = min(config.context, _TOKENS), min(config.vocabulary, _TOKENS)
    seen = np.arange(count) * config.vocabulary // count
    tokens = np.resize(seen, (-(-count // positions), positions))
    logits = FloatModel(config, weights).logits(tokens).ravel()
    # The period of these waves is no whole number, so that no two logits count alike.
    factors = np.cos(np.multiply.outer(np.arange(1, _WAVES + 1), np.arange(logits.size)))
    # Rounded below what is compared, so that equal checkpoints are equal files.
    return [round(float(value), 9) for value in factors @ logits / np.sqrt(logits.size)]


def same_fingerprint(one: Sequence[float], other: Sequence[float]) -> bool:
    """Tell whether two fingerprints are of the same weights, whatever machines made them."""
    return len(one) == len(other) and np.allclose(one, other, rtol=_TOLERANCE, atol=_TOLERANCE)
