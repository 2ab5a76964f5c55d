"""Cost of a cache: the loss along streams of documents that are longer than the cache."""

import numpy as np
from numpy.typing import NDArray

from gptloom.model.arithmetic import LOGIT_FRACTION
from gptloom.model.cache import Eviction, mass_bits
from gptloom.model.golden import GoldenModel
from gptloom.model.integer import IntegerModel
from gptloom.model.loss import log_softmax
from gptloom.model.positions import MAX_DISTANCE
from gptloom.model.recurrent import StateWidths, golden_of


def stream_losses(model: IntegerModel, rows: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return `losses_of` the model's golden model."""
    return losses_of(golden_of(model), rows)


def losses_of(golden: GoldenModel, rows: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return the mean cross-entropy at every position of some streams, in nats: [time].

    Parameters
    ----------
    golden
        Model to step token by token, as hardware does, with its cache.
    rows
        [streams, time + 1] token rows without padding: :meth:`.Tokenizer.stream_rows`.
    """
    tokens, cache, every = rows.astype(np.int64), golden.new_cache(len(rows)), np.arange(len(rows))
    scale, losses = golden.model.logit_scale(1.0), []
    for position in range(tokens.shape[1] - 1):
        accumulators = golden.step(tokens[:, position], position, cache)
        logits = golden.scaled_logits(accumulators, scale) / (1 << LOGIT_FRACTION)
        losses.append(-np.mean(log_softmax(logits)[every, tokens[:, position + 1]]))
    return np.array(losses)


def state_bits(model: IntegerModel) -> int:
    """Return the bits that a cache keeps from token to token: rows, and data about them.

    A recurrent cache keeps sums instead.
    """
    config = model.config
    if config.recurrent:
        return config.vocabulary * config.heads * StateWidths().sum_bits(config.head_width)
    known = 0
    if config.eviction is Eviction.ATTENTION:
        known = mass_bits(config.heads) + MAX_DISTANCE.bit_length()
    row = config.layers * model.precision.cache.row_bits(config.width)
    return config.context * (row + known)
