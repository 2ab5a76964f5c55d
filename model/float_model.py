"""The float reference: a network's forward pass in NumPy, in double precision."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from gptloom.model.cache import Eviction
from gptloom.model.config import ModelConfig
from gptloom.model.errors import UserError
from gptloom.model.network import network
from gptloom.model.positions import Positions, angles, slopes
from gptloom.model.sites import Becomes, Combination, Function, Key, Kind, Site
from gptloom.model.tokenizer import parts

Append = Callable[[Site, np.ndarray], np.ndarray]
"""Adds rows of the present tokens to a cache, [batch, time, width], and returns all its rows."""

Trace = Callable[[Site, np.ndarray], None]
"""Called with every site and its value, in order of computation."""


class Cache:
    """Keys and values of the positions seen so far, float64 [layers, documents, context, width]."""

    def __init__(self, config: ModelConfig, documents: int = 1):
        shape = (config.layers, documents, config.context, config.cached_width)
        self.rows = {becomes: np.zeros(shape) for becomes in (Becomes.KEY, Becomes.VALUE)}


class FloatModel:
    """The network as published: its table of sites (:mod:`.network`) in real numbers.

    Parameters
    ----------
    config
        The shape.
    weights
        Arrays by name, shaped as `ModelConfig.weight_shapes` says; a row is an output.

    Raises
    ------
    UserError
        A weight is missing or has another shape.
    """

    def __init__(self, config: ModelConfig, weights: Mapping[str, np.ndarray]):
        for name, shape in config.weight_shapes().items():
            if name not in weights:
                raise UserError(f"The weight {name} is missing: give every weight of the shape.")
            if weights[name].shape != shape:
                raise UserError(
                    f"The weight {name} has shape {weights[name].shape} instead of {shape}: "
                    "give weights and configuration of the same model."
                )
        self.config = config
        # All earlier tokens are seen, whatever a cache would evict.
        self.network = network(replace(config, eviction=Eviction.NONE, sinks=0))
        self.weights = {name: weights[name].astype(np.float64) for name in config.weight_shapes()}

    def logits(self, tokens: np.ndarray, trace: Trace | None = None) -> np.ndarray:
        """Return the logits after every position of whole sequences.

        Parameters
        ----------
        tokens
            Integers [batch, positions], with learned positions at most ``context`` of them.
        trace
            Receives the value of every site.

        Returns
        -------
        numpy.ndarray
            float64 [batch, positions, vocabulary]. Position p sees tokens 0 to p only.

        Raises
        ------
        UserError
            There are more learned positions than the context has.
        """
        tokens = np.asarray(tokens)
        positions = np.arange(tokens.shape[1])
        if len(positions) > self.config.context and self.config.positions is Positions.LEARNED:
            raise UserError(
                f"{len(positions)} tokens do not fit the context of {self.config.context}: "
                "give fewer."
            )
        return self._run(tokens, positions, lambda _, rows: rows, trace)

    def step(self, token: int, position: int, cache: Cache) -> np.ndarray:
        """Return the logits after one more token of a document; see `steps`."""
        return self.steps(np.array([token]), position, cache)[0]

    def steps(self, tokens: np.ndarray, position: int, cache: Cache) -> np.ndarray:
        """Return the logits after one more token of each document, float64 [documents, vocabulary].

        Parameters
        ----------
        tokens
            The tokens at ``position``, [documents].
        position
            Their position; all positions before it were given to the same cache already.
        cache
            Keys and values; this position's are written into it.

        Raises
        ------
        UserError
            The position is outside the context.
        """
        if not 0 <= position < self.config.context:
            raise UserError(
                f"Position {position} is outside the context: use 0 to {self.config.context - 1}."
            )

        def append(site: Site, rows: np.ndarray) -> np.ndarray:
            kept = cache.rows[site.becomes][site.layer]
            kept[:, position] = rows[:, 0]
            return kept[:, : position + 1]

        return self._run(tokens[:, None], np.array([position]), append)[:, 0]

    def loss(self, rows: np.ndarray) -> float:
        """Return the mean cross-entropy in nats per predicted token.

        Every token after the first of a row counts, including the end of the document.

        Parameters
        ----------
        rows
            Token rows as `Tokenizer.rows` makes them, [documents, context + 1].
        """
        total, count = 0.0, 0
        for inputs, targets in parts(rows):
            predicted = targets >= 0
            logits = self.logits(inputs)
            shifted = logits - logits.max(axis=-1, keepdims=True)
            surprise = np.log(np.exp(shifted).sum(axis=-1)) - np.take_along_axis(
                shifted, np.maximum(targets, 0)[..., None], axis=-1
            ).squeeze(-1)
            total += float(surprise[predicted].sum())
            count += int(predicted.sum())
        return total / count

    def _run(
        self,
        tokens: np.ndarray,
        positions: np.ndarray,
        append: Append,
        trace: Trace | None = None,
    ) -> np.ndarray:
        """Execute the table of sites in real numbers.

        Norms are applied where they are published, before the stream is read: no site defers one.
        """
        config, weights = self.config, self.weights
        found: dict[Key, np.ndarray] = {}
        rows: dict[Key, np.ndarray] = {}
        stream = normed = None
        for site in self.network.sites:
            source = normed if site.normed else found.get(site.source)
            match site.kind:
                case Kind.EMBEDDING:
                    tables = zip(self.network.embeddings, (tokens, positions), strict=False)
                    value = sum(weights[table.name][index] for table, index in tables)
                case Kind.NORM:
                    value = source * weights[site.gain.name] if site.gain else source
                case Kind.PRODUCT:
                    value = source @ weights[site.matrix.name].T
                case Kind.SCORES:
                    queries, keys = self._by_head(source), self._by_head(rows[site.rows])
                    value = self._for_sharers(queries) @ keys.swapaxes(2, 3)[:, :, None]
                    value = value.reshape(len(tokens), config.heads, *value.shape[3:])
                    value = self._penalised(value / np.sqrt(config.head_width), positions)
                case Kind.SOFTMAX:
                    value = _softmax(source)
                case Kind.MIX:
                    values = self._by_head(rows[site.rows])[:, :, None]
                    value = (self._for_sharers(source) @ values).swapaxes(2, 3).swapaxes(1, 2)
                    value = value.reshape(*tokens.shape, site.elements)
            if site.rotated:
                value = self._rotated(value, positions)
            value = _FUNCTIONS[site.function](value)
            match site.combination:
                case Combination.ADD:
                    value = stream + value
                case Combination.MULTIPLY:
                    value = found[site.factor] * value
            if site.is_cached:
                rows[site.key] = append(site, value)
            if site.is_stream:
                stream, normed = value, _rms_norm(value, config.epsilon)
            found[site.key] = value
            if trace:
                trace(site, value)
        return value

    def _by_head(self, rows: np.ndarray) -> np.ndarray:
        """Return rows [batch, time, width] as [batch, heads, time, head width]."""
        return rows.reshape(*rows.shape[:2], -1, self.config.head_width).swapaxes(1, 2)

    def _for_sharers(self, values: np.ndarray) -> np.ndarray:
        """Return values [batch, heads, ...] as [batch, cached heads, heads that share one, ...]."""
        return values.reshape(len(values), self.config.cached_heads, -1, *values.shape[2:])

    def _rotated(self, rows: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Return rows [batch, time, width] with every pair of elements turned."""
        width = self.config.head_width
        angle = angles(positions, width, self.config.theta)[:, None]
        cosine, sine = np.cos(angle), np.sin(angle)
        pairs = rows.reshape(*rows.shape[:2], -1, width // 2, 2)
        even, odd = pairs[..., 0], pairs[..., 1]
        turned = even * cosine - odd * sine, even * sine + odd * cosine
        return np.stack(turned, axis=-1).reshape(rows.shape)

    def _penalised(self, scores: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Return scores less ALiBi's penalty, and minus infinity for keys that are yet to come."""
        distance = positions[:, None] - np.arange(scores.shape[-1])
        if self.config.positions is Positions.ALIBI:
            scores = scores + np.multiply.outer(-slopes(self.config.heads), distance)
        return np.where(distance < 0, -np.inf, scores) if (distance < 0).any() else scores


def _rms_norm(x: np.ndarray, epsilon: float) -> np.ndarray:
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + epsilon)


def _softmax(x: np.ndarray) -> np.ndarray:
    powers = x - x.max(axis=-1, keepdims=True)
    np.exp(powers, out=powers)
    powers /= powers.sum(axis=-1, keepdims=True)
    return powers


def _silu(x: np.ndarray) -> np.ndarray:
    # The logistic function as a hyperbolic tangent, which has no overflow.
    return x * (1 + np.tanh(x / 2)) / 2


_FUNCTIONS: dict[Function, Callable[[np.ndarray], np.ndarray]] = {
    Function.NONE: lambda x: x,
    Function.RELU: lambda x: np.maximum(x, 0),
    Function.SILU: _silu,
}
