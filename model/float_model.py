"""The float reference: microGPT's forward pass in NumPy, in double precision."""

from collections.abc import Mapping

import numpy as np

from gptloom.model.config import ModelConfig
from gptloom.model.errors import UserError
from gptloom.model.positions import Positions, slopes
from gptloom.model.tokenizer import parts

NORM_EPSILON = 1e-5
"""Added to the mean square in every RMSNorm, as in microGPT."""


class Cache:
    """Keys and values of the positions seen so far, float64 [layers, context, width]."""

    def __init__(self, config: ModelConfig):
        self.keys = np.zeros((config.layers, config.context, config.width))
        self.values = np.zeros_like(self.keys)


class FloatModel:
    """The network as published: Karpathy's microGPT, gist 8627fe009c40f57531cb18360106ce95.

    Token and position embeddings are summed and normalised once; each layer adds multi-head
    causal attention and a ReLU MLP to the residual stream, with an RMSNorm before each; the
    logits are ``lm_head`` times the stream. No biases, no final norm. With ALiBi there are no
    position embeddings, and scores fall with distance (:mod:`.positions`).

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
        self.weights = {name: weights[name].astype(np.float64) for name in config.weight_shapes()}

    def logits(self, tokens: np.ndarray) -> np.ndarray:
        """Return the logits after every position of whole sequences.

        Parameters
        ----------
        tokens
            Integers [batch, positions], with learned positions at most ``context`` of them.

        Returns
        -------
        numpy.ndarray
            float64 [batch, positions, vocabulary]. Position p sees tokens 0 to p only.

        Raises
        ------
        UserError
            There are more learned positions than the context has.
        """
        config, weights = self.config, self.weights
        tokens = np.asarray(tokens)
        batch, positions = tokens.shape
        if positions > config.context and config.positions is Positions.LEARNED:
            raise UserError(
                f"{positions} tokens do not fit the context of {config.context}: give fewer."
            )
        future = np.triu(np.ones((positions, positions), dtype=bool), k=1)
        split = (batch, positions, config.heads, config.head_width)

        x = _rms_norm(self._embedding(tokens, np.arange(positions)))
        bias = self._bias(np.arange(positions)[:, None] - np.arange(positions))
        for layer in range(config.layers):
            matrix = self._layer(layer)
            normed = _rms_norm(x)
            q, k, v = (
                (normed @ matrix[name].T).reshape(split).transpose(0, 2, 1, 3)
                for name in ("attn_wq", "attn_wk", "attn_wv")
            )
            scores = q @ k.transpose(0, 1, 3, 2) / np.sqrt(config.head_width) + bias
            scores[..., future] = -np.inf
            attended = (_softmax(scores) @ v).transpose(0, 2, 1, 3).reshape(x.shape)
            x = x + attended @ matrix["attn_wo"].T
            x = x + _mlp(_rms_norm(x), matrix)
        return x @ weights["lm_head"].T

    def step(self, token: int, position: int, cache: Cache) -> np.ndarray:
        """Return the logits after one more token, float64 [vocabulary].

        Parameters
        ----------
        token
            The token at ``position``.
        position
            Where it stands; all positions before it were given to the same cache already.
        cache
            Keys and values; this position's are written into it.

        Raises
        ------
        UserError
            The position is outside the context.
        """
        config, weights = self.config, self.weights
        if not 0 <= position < config.context:
            raise UserError(
                f"Position {position} is outside the context: use 0 to {config.context - 1}."
            )
        split = (position + 1, config.heads, config.head_width)

        x = _rms_norm(self._embedding(np.array(token), position))
        bias = self._bias(position - np.arange(position + 1))
        for layer in range(config.layers):
            matrix = self._layer(layer)
            normed = _rms_norm(x)
            cache.keys[layer, position] = matrix["attn_wk"] @ normed
            cache.values[layer, position] = matrix["attn_wv"] @ normed
            q = (matrix["attn_wq"] @ normed).reshape(split[1:])
            k = cache.keys[layer, : position + 1].reshape(split)
            v = cache.values[layer, : position + 1].reshape(split)
            scores = np.einsum("hd,thd->ht", q, k) / np.sqrt(config.head_width) + bias
            attended = np.einsum("ht,thd->hd", _softmax(scores), v).reshape(-1)
            x = x + matrix["attn_wo"] @ attended
            x = x + _mlp(_rms_norm(x), matrix)
        return weights["lm_head"] @ x

    def loss(self, rows: np.ndarray) -> float:
        """Return the mean cross-entropy in nats per predicted token.

        Every token after the first of a row counts, the end of the document included.

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

    def _embedding(self, tokens: np.ndarray, positions: np.ndarray | int) -> np.ndarray:
        embedding = self.weights["wte"][tokens]
        if self.config.positions is Positions.LEARNED:
            embedding = embedding + self.weights["wpe"][positions]
        return embedding

    def _bias(self, distance: np.ndarray) -> np.ndarray | float:
        """Return what is added to the scores, [heads, *distance]."""
        if self.config.positions is Positions.LEARNED:
            return 0.0
        return np.multiply.outer(-slopes(self.config.heads), distance)

    def _layer(self, layer: int) -> dict[str, np.ndarray]:
        prefix = f"layer{layer}."
        return {
            name.removeprefix(prefix): value
            for name, value in self.weights.items()
            if name.startswith(prefix)
        }


def _rms_norm(x: np.ndarray) -> np.ndarray:
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + NORM_EPSILON)


def _softmax(x: np.ndarray) -> np.ndarray:
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def _mlp(x: np.ndarray, matrix: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.maximum(x @ matrix["mlp_fc1"].T, 0) @ matrix["mlp_fc2"].T
