"""The merged form in real numbers: equal to the float model, with a shorter chain of products.

The inputs of a layer are its query, keys and values, and three linear functions of the residual
stream x: x itself, ``fx = F x`` with F = fc1, and ``lx = D x``. D has the rows that are asked of
the layer: those of ``lm_head`` for the last layer, for any other the query, key and value matrices
of the next layer and the identity, one below the other. For every layer,

    a   = sum_t e_t v_t / sum_t e_t      e_t = 2**(q.k_t - max), log2(e)/sqrt(d) folded into q
    u   = relu(fx + A1 a)                A1 = fc1 Wo
    res = x + Wo a                       S  = sqrt(mean res**2)
    S y = (lx + A2 a) S + B u            A2 = D Wo, B = D fc2

S is the divisor of the MLP's norm. ReLU and the second matrix let a positive factor pass, so the
division may wait until y; and y itself may keep the factor S: the largest logit stays the largest,
and the next layer's norm removes it. S then multiplies terms that are known while B u is being
computed, and no multiplication follows B u.

The inputs of layer 0 depend on token and position only, with ALiBi on the token alone: they are a
table. ALiBi's penalties are part of the exponents of e_t, in octaves. A later layer takes y as it
is: its last part is x, and its other parts divided by sqrt(mean x**2) are q, k and v, where S y may
replace y. Scores may be divided instead of q, so the chain goes on with q.k at once; x, fx and lx
are computed in parallel with attention. So each layer has only two dense products in the chain.

Handing on fx and lx as well, as further rows of D, would save the products F x and D x, which are
not in the chain, and make A2 and B of all layers but the last larger: for two layers of microGPT's
size, 17,120 weights instead of 11,296.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gptloom.model.config import ModelConfig
from gptloom.model.family import check_family
from gptloom.model.network import network
from gptloom.model.positions import Positions, slope_shifts

ENTRIES = ("q", "k", "v", "x", "fx", "lx")
"""Inputs of a layer."""

MATRICES = ("a1", "a2", "wo", "b")
"""Matrices of a layer's products by constants."""

LATER_MATRICES = (*MATRICES, "f", "d")
"""Matrices of a layer other than the first."""

Array = Any
"""A NumPy array or a PyTorch tensor: merging is the same for both."""

Trace = Callable[[int, str, np.ndarray], None]


@dataclass(frozen=True)
class Merged:
    """A network in merged form.

    Attributes
    ----------
    config
        The shape.
    table
        `ENTRIES` of layer 0 by name, each [vocabulary, places, elements]: a place for every
        position of the context, or one for all with ALiBi.
    layers
        `MATRICES` by name for layer 0, `LATER_MATRICES` for the others; row = output.
    asked
        D of each layer.
    """

    config: ModelConfig
    table: dict[str, Array]
    layers: tuple[dict[str, Array], ...]
    asked: tuple[Array, ...]


def entry_sizes(config: ModelConfig, layer: int) -> dict[str, int]:
    """Return the number of elements of each of `ENTRIES` in a layer."""
    sizes = dict.fromkeys(("q", "k", "v", "x"), config.width) | {"fx": config.hidden}
    last = layer == config.layers - 1
    return sizes | {"lx": config.vocabulary if last else 4 * config.width}


def table_places(config: ModelConfig, positions: Array) -> Array:
    """Return the places in the table of tokens at these positions."""
    return positions if config.positions is Positions.LEARNED else np.zeros_like(positions)


def merge(
    config: ModelConfig,
    weights: Mapping[str, Array],
    stack: Callable[[list[Array]], Array] = np.concatenate,
    identity: Callable[[int], Array] = np.eye,
) -> Merged:
    """Multiply matrices out.

    Parameters
    ----------
    config
        The shape.
    weights
        Arrays by name, shaped as `ModelConfig.weight_shapes` says; tensors keep their gradient.
    stack
        Joins rows: ``torch.cat`` for tensors.
    identity
        Makes the identity matrix: ``torch.eye`` for tensors.

    Raises
    ------
    UserError
        The network is of another family, whose matrices have something between them.
    """
    check_family(config.family, "the merged form")
    table = network(config)
    rows = weights[table.head.matrix.name]
    layers, asked = [], []
    for index in reversed(range(config.layers)):
        wq, wk, wv, wo, fc1, fc2 = (weights[w.name] for w in table.layer_weights(index))
        asked.append(rows)
        layers.append({"a1": fc1 @ wo, "a2": rows @ wo, "wo": wo, "b": rows @ fc2})
        query = wq * float(np.log2(np.e) / np.sqrt(config.head_width))
        blocks = [query, wk, wv]
        if index:
            layers[-1] |= {"f": fc1, "d": rows}
            rows = stack([*blocks, identity(config.width)])
    x = weights[table.tokens.name][:, None, :]
    if table.positions:
        x = x + weights[table.positions.name][None, :, :]
    x = x * _norm(x, config.epsilon)
    normed = x * _norm(x, config.epsilon)
    q, k, v = (normed @ block.T for block in blocks)
    entries = {"q": q, "k": k, "v": v, "x": x, "fx": x @ fc1.T, "lx": x @ rows.T}
    return Merged(config, entries, tuple(reversed(layers)), tuple(reversed(asked)))


def _norm(x: Array, epsilon: float) -> Array:
    """Return one over the root mean square of the last axis."""
    return ((x * x).mean(-1)[..., None] + epsilon) ** -0.5


class MergedFloat:
    """Forward pass of the merged form in double precision.

    Parameters
    ----------
    merged
        The network, in NumPy arrays.
    """

    def __init__(self, merged: Merged):
        self.merged = merged
        self.config = merged.config

    def logits(self, tokens: np.ndarray, trace: Trace = lambda *_: None) -> np.ndarray:
        """Return the logits after every position of whole sequences.

        Parameters
        ----------
        tokens
            Integers [batch, positions], with learned positions at most ``context`` of them.
        trace
            Called with layer, site and value [batch, positions, ...] of intermediates.

        Returns
        -------
        numpy.ndarray
            float64 [batch, positions, vocabulary].
        """
        tokens = np.asarray(tokens)
        places = table_places(self.config, np.arange(tokens.shape[1]))
        entry = {name: rows[tokens, places] for name, rows in self.merged.table.items()}
        y = root = np.empty(0)
        for index, layer in enumerate(self.merged.layers):
            if index:
                # Layer 0's norm is in its table.
                q, k, v, x = np.split(y, 4, axis=-1)
                scale = _norm(x, self.config.epsilon)
                entry = {"q": q * scale, "k": k * scale, "v": v * scale, "x": x}
                entry |= {"fx": x @ layer["f"].T, "lx": x @ layer["d"].T}
                for site, value in (
                    ("stream", y * root),
                    ("scale", scale / root),
                    ("inverse", 1 / root),
                    *entry.items(),
                ):
                    trace(index, site, value)
            a = self._attention(entry["q"], entry["k"], entry["v"])
            u = np.maximum(entry["fx"] + a @ layer["a1"].T, 0)
            residual = entry["x"] + a @ layer["wo"].T
            direct = entry["lx"] + a @ layer["a2"].T
            product, root = u @ layer["b"].T, 1 / _norm(residual, self.config.epsilon)
            y = direct + product / root
            for site, value in (
                ("mix", a),
                ("hidden", u),
                ("residual", residual),
                ("root", root),
                ("product", product),
                ("direct", direct),
            ):
                trace(index, site, value)
        return y

    def _attention(self, q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
        heads = (*q.shape[:2], self.config.heads, self.config.head_width)
        q, k, v = (value.reshape(heads) for value in (q, k, v))
        future = np.triu(np.ones((q.shape[1],) * 2, bool), 1)
        scores = np.einsum("bthd,bshd->bhts", q, k)
        if self.config.positions is Positions.ALIBI:
            distance = np.arange(q.shape[1])[:, None] - np.arange(q.shape[1])
            scores -= np.multiply.outer(2.0 ** slope_shifts(self.config.heads), distance)
        scores[..., future] = -np.inf
        powers = np.exp2(scores - scores.max(-1, keepdims=True))
        mixed = np.einsum("bhts,bshd->bthd", powers / powers.sum(-1, keepdims=True), v)
        return mixed.reshape(*heads[:2], -1)
