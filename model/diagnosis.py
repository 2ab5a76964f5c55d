"""Effect of a change of formats on a model's predictions.

A model with few bits in its KV cache says other things before its loss shows it: the loss is a
mean of changes for better and for worse. So the distributions themselves are compared as well: how
far those of all held-out predictions moved, how far that of a document's first three characters
together, how often the likeliest token is another, at which position, and in which head attention
looks elsewhere.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gptloom.model.config import ModelConfig
from gptloom.model.golden import Trace
from gptloom.model.loss import Predictor, Real, log_probabilities
from gptloom.model.network import network
from gptloom.model.sites import Kind
from gptloom.model.tokenizer import parts

FIRST = 3
"""Number of characters whose joint distribution is compared."""


class TracedPredictor(Predictor):
    """A golden model of either form."""

    config: ModelConfig

    def nats(self, tokens: NDArray[np.int64], trace: Trace | None = None) -> Real:
        """Return the sampler's logits at temperature 1, in nats, and trace intermediates."""
        ...


@dataclass(frozen=True)
class PositionShift:
    """Change at one position.

    Attributes
    ----------
    position
        Position of the token that predicts.
    loss, reference_loss
        Mean cross-entropy in nats.
    kl
        Mean Kullback-Leibler divergence of the predictions from the reference's, in nats.
    agreement
        Share of the predictions whose likeliest token is the reference's.
    """

    position: int
    loss: float
    reference_loss: float
    kl: float
    agreement: float


@dataclass(frozen=True)
class HeadShift:
    """Change in one head.

    Attributes
    ----------
    layer, head
        Layer, and head within it.
    attention
        Mean total variation of its attention weights: the effect of keys.
    mix
        Share of the variance of its mixed values that the reference's do not explain, up to a
        factor for each element: the effect of keys and values.
    """

    layer: int
    head: int
    attention: float
    mix: float


@dataclass(frozen=True)
class Limits:
    """Largest deviations from its reference before a model counts as another one.

    Attributes
    ----------
    loss
        Rise of the loss in nats per token.
    variation
        Total variation of a document's first characters.
    agreement
        Least share of predictions with the same likeliest token.
    """

    loss: float = 0.002
    variation: float = 0.04
    agreement: float = 0.95


@dataclass(frozen=True)
class Diagnosis:
    """A model compared with its reference; see the fields of :class:`PositionShift`.

    Attributes
    ----------
    first_kl, first_variation
        Divergence and total variation of the joint distribution of a document's first three
        characters, by enumeration of all.
    positions, heads
        The same position by position, and the change in each head.
    """

    loss: float
    reference_loss: float
    kl: float
    agreement: float
    first_kl: float
    first_variation: float
    positions: list[PositionShift]
    heads: list[HeadShift]

    def faults(self, limits: Limits | None = None) -> list[str]:
        """Return the limits that are exceeded, in words."""
        limits, rise = limits or Limits(), self.loss - self.reference_loss
        found = []
        if rise > limits.loss:
            found.append(f"the loss rises by {rise:.4f} nats (limit {limits.loss:g})")
        if self.first_variation > limits.variation:
            found.append(
                f"the first {FIRST} characters change with a total variation of "
                f"{self.first_variation:.3f} (limit {limits.variation:g})"
            )
        if self.agreement < limits.agreement:
            found.append(
                f"the likeliest token stays the same in {self.agreement:.1%} of predictions "
                f"(limit {limits.agreement:.0%})"
            )
        return found


def diagnose(
    reference: TracedPredictor, candidate: TracedPredictor, rows: NDArray[np.integer], bos: int
) -> Diagnosis:
    """Compare two golden models.

    Parameters
    ----------
    reference, candidate
        Models of the same shape and tokens.
    rows
        [documents, context + 1] token rows padded with -1, to measure on.
    bos
        Token that begins and ends documents.
    """
    positions = _PositionSums(rows.shape[1] - 1)
    heads = _HeadSums(candidate.config)
    for inputs, targets in parts(rows):
        traces: list[dict] = [{}, {}]
        one, two = (
            log_probabilities(model, inputs, _into(trace))
            for model, trace in zip((reference, candidate), traces, strict=True)
        )
        predicted = targets >= 0
        positions.add(one, two, targets, predicted)
        heads.add(*traces, predicted)
    first = [_first_characters(model, bos) for model in (reference, candidate)]
    total = positions.sums.sum(axis=1)
    loss, reference_loss, kl, agreement = (total[:4] / total[4]).tolist()
    return Diagnosis(
        loss=loss,
        reference_loss=reference_loss,
        kl=kl,
        agreement=agreement,
        first_kl=float((first[0] * np.log(first[0] / first[1])).sum()),
        first_variation=float(np.abs(first[0] - first[1]).sum() / 2),
        positions=list(positions.found()),
        heads=list(heads.found()),
    )


def _into(trace: dict) -> Trace:
    return lambda layer, site, value: trace.__setitem__((layer, site), value)


def _first_characters(model: Predictor, bos: int) -> Real:
    """Return the probability of every `FIRST` tokens of a document, or fewer and its end."""
    characters = np.arange(bos)
    prefixes = np.stack(np.meshgrid(*[characters] * (FIRST - 1), indexing="ij"), axis=-1)
    prefixes = prefixes.reshape(-1, FIRST - 1)
    tokens = np.concatenate([np.full((len(prefixes), 1), bos), prefixes], axis=1)
    chances = np.exp(log_probabilities(model, tokens)).reshape(*[bos] * (FIRST - 1), FIRST, -1)
    found, so_far = [], np.ones(())
    for place in range(FIRST):
        # Later tokens of a prefix do not matter here: any prefix stands for all.
        earlier = (slice(None),) * place + (0,) * (FIRST - 1 - place)
        joint = so_far[..., None] * chances[(*earlier, place)]
        last = place == FIRST - 1
        found.append((joint if last else joint[..., bos]).ravel())
        so_far = joint[..., :bos]
    return np.concatenate(found)


class _PositionSums:
    """Sums of the loss, the reference's loss, divergence, agreement and count, [5, positions]."""

    def __init__(self, positions: int):
        self.sums = np.zeros((5, positions))

    def add(self, one: Real, two: Real, targets: NDArray, predicted: NDArray) -> None:
        chosen = np.maximum(targets, 0)[..., None]
        terms = (
            -np.take_along_axis(two, chosen, axis=-1)[..., 0],
            -np.take_along_axis(one, chosen, axis=-1)[..., 0],
            (np.exp(one) * (one - two)).sum(axis=-1),
            one.argmax(axis=-1) == two.argmax(axis=-1),
            np.ones_like(predicted),
        )
        for sums, term in zip(self.sums, terms, strict=True):
            sums[: term.shape[1]] += np.where(predicted, term, 0).sum(axis=0)

    def found(self) -> Iterator[PositionShift]:
        for position, (loss, reference_loss, kl, agreement, count) in enumerate(self.sums.T):
            if count:
                means = (value / count for value in (loss, reference_loss, kl, agreement))
                yield PositionShift(position, *map(float, means))


class _HeadSums:
    """Sums that compare attention weights and mixed values of both models."""

    def __init__(self, config: ModelConfig):
        self._config, self._network = config, network(config)
        self._variation = np.zeros((config.layers, config.heads))
        # Squares of the reference's mix, of the candidate's, and products of both.
        self._mixes = np.zeros((3, config.layers, config.width))
        self._count = 0

    def add(self, one: dict, two: dict, predicted: NDArray) -> None:
        self._count += int(predicted.sum())
        for layer in range(self._config.layers):
            softmax, mix = (self._network.of_kind(kind, layer) for kind in (Kind.SOFTMAX, Kind.MIX))
            weights = []
            for trace in (one, two):
                numerators = trace[softmax.key][predicted].astype(float)
                weights.append(numerators / numerators.sum(axis=1, keepdims=True))
            self._variation[layer] += np.abs(weights[0] - weights[1]).sum(axis=(0, 1)) / 2
            shape = (*predicted.shape, self._config.width)
            a, b = (t[mix.key].reshape(shape)[predicted].astype(float) for t in (one, two))
            for sums, term in zip(self._mixes, (a * a, b * b, a * b), strict=True):
                sums[layer] += term.sum(axis=0)

    def found(self) -> Iterator[HeadShift]:
        squares, others, products = self._mixes
        unexplained = others - products**2 / np.maximum(squares, 1)
        for layer in range(self._config.layers):
            size = self._config.head_width
            for head in range(self._config.heads):
                elements = slice(head * size, (head + 1) * size)
                part = unexplained[layer, elements].sum() / others[layer, elements].sum()
                variation = self._variation[layer, head] / self._count
                yield HeadShift(layer, head, float(variation), float(part))
