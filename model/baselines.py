"""Losses that counting alone achieves: n-gram models to compare a model with."""

from collections.abc import Mapping

import numpy as np

from gptloom.model.tokenizer import PADDING

ORDERS = {"bigram": 2, "trigram": 3, "4-gram": 4}
"""Baselines by the name they are reported under."""


def ngram_losses(training: np.ndarray, heldout: np.ndarray, vocabulary: int) -> dict[str, float]:
    """Return the held-out loss of every baseline in `ORDERS`, in nats per token.

    The parameters are those of `ngram_loss`.
    """
    return {
        name: ngram_loss(training, heldout, vocabulary, order) for name, order in ORDERS.items()
    }


def better_ngram(loss: float, baselines: Mapping[str, float]) -> str:
    """Return a sentence about the shortest n-gram that is better than a model, if one is.

    Parameters
    ----------
    loss
        Held-out loss of the model.
    baselines
        Losses that `ngram_losses` returned for the same documents.
    """
    for name, counted in baselines.items():
        if counted < loss:
            return (
                f"a {name}, which only counts, predicts held-out documents better ({counted:.4f} "
                f"nats per token) than this model ({loss:.4f}): give more documents, a larger "
                "shape, or another number of --steps or --lr."
            )
    return ""


def ngram_loss(training: np.ndarray, heldout: np.ndarray, vocabulary: int, order: int) -> float:
    """Return the mean cross-entropy of an n-gram model, in nats per predicted token.

    Each order is interpolated with the next lower one, down to the uniform distribution, with
    the weights of Witten and Bell (1991): a history seen c times with d different continuations
    trusts its own counts by c / (c + d). The rule has no parameter that could be tuned.

    Parameters
    ----------
    training, heldout
        Token rows as `Tokenizer.rows` makes them: the former are counted, the latter measured. The
        predicted tokens are the same as in `FloatModel.loss`.
    vocabulary
        Number of token ids.
    order
        Length of the n-gram: 2 predicts from one previous token.
    """
    probability = np.full(int((heldout[:, 1:] != PADDING).sum()), 1 / vocabulary)
    for length in range(1, order + 1):
        grams, queries = _grams(training, length, vocabulary), _grams(heldout, length, vocabulary)
        distinct, counts = np.unique(grams, return_counts=True)
        seen = _look_up(distinct, counts, queries)
        histories, first = np.unique(distinct // vocabulary, return_index=True)
        totals = np.add.reduceat(counts, first)
        kinds = np.diff(np.append(first, len(distinct)))
        history = queries // vocabulary
        total = _look_up(histories, totals, history)
        different = _look_up(histories, kinds, history)
        known = total > 0
        mixed = (seen + different * probability) / np.maximum(total + different, 1)
        probability = np.where(known, mixed, probability)
    return float(-np.log(probability).mean())


def _grams(rows: np.ndarray, length: int, vocabulary: int) -> np.ndarray:
    """Return a number for every predicted token and the ``length - 1`` before it.

    A document begins with as many begin tokens as the history needs.
    """
    rows = rows.astype(np.int64)
    padded = np.hstack([np.repeat(rows[:, :1], max(0, length - 2), axis=1), rows])
    predictions = rows.shape[1] - 1
    code = np.zeros((len(rows), predictions), dtype=np.int64)
    for offset in range(length):
        start = padded.shape[1] - predictions - (length - 1) + offset
        code = code * vocabulary + padded[:, start : start + predictions]
    return code[rows[:, 1:] != PADDING]


def _look_up(keys: np.ndarray, values: np.ndarray, queries: np.ndarray) -> np.ndarray:
    at = np.minimum(np.searchsorted(keys, queries), len(keys) - 1)
    return np.where(keys[at] == queries, values[at], 0)
