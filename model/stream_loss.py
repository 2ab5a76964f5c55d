"""What a cache costs: the loss along streams of documents that are longer than it."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gptloom.model.arithmetic import LOGIT_FRACTION, WEIGHT_BITS
from gptloom.model.cache import MASS_BITS, Eviction
from gptloom.model.config import ModelConfig
from gptloom.model.golden import GoldenModel
from gptloom.model.integer import IntegerModel
from gptloom.model.positions import MAX_DISTANCE


def stream_losses(
    model: IntegerModel,
    rows: NDArray[np.integer],
    progress: Callable[[int], None] = lambda position: None,
) -> NDArray[np.float64]:
    """Return the mean cross-entropy at every position of some streams, in nats: [time].

    Parameters
    ----------
    model
        Its cache is stepped token by token, as hardware does.
    rows
        [streams, time + 1] token rows without padding: :meth:`.Tokenizer.stream_rows`.
    progress
        Called with every position that is done.
    """
    golden, tokens = GoldenModel(model), rows.astype(np.int64)
    cache, scale, every = golden.new_cache(len(rows)), model.logit_scale(1.0), np.arange(len(rows))
    losses = []
    for position in range(tokens.shape[1] - 1):
        accumulators = golden.step(tokens[:, position], position, cache)
        logits = golden.scaled_logits(accumulators, scale) / (1 << LOGIT_FRACTION)
        logits = logits - logits.max(axis=-1, keepdims=True)
        chosen = logits[every, tokens[:, position + 1]]
        losses.append(np.mean(np.log(np.exp(logits).sum(axis=-1)) - chosen))
        progress(position)
    return np.array(losses)


def state_bits(config: ModelConfig) -> int:
    """Return the bits that a cache keeps from token to token: rows, and what is known of them."""
    known = 0
    if config.eviction is Eviction.ATTENTION:
        known = MASS_BITS + MAX_DISTANCE.bit_length()
    return config.context * (2 * config.layers * config.width * WEIGHT_BITS + known)
