"""Which integer grid every float weight is rounded to.

A weight becomes an 8-bit integer in units of its grid, and each tensor or channel has a grid of
its own. Most of these scales cost nothing, because the network does not change when a factor moves
from one matrix to the next: from query to key, from value to output projection, through ReLU from
the first MLP matrix to the second, from the embeddings into the norm that follows, from the logits
into the temperature.
(M. Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", 2019.)

:mod:`.quantise` rounds to these grids and :mod:`.qat` trains on them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gptloom.model.arithmetic import (
    EMBEDDING_SHIFT,
    MANTISSA_BITS,
    PRE_SHIFT,
    SCORE_FRACTION,
    SCORE_SHIFT,
    WEIGHT_BITS,
)
from gptloom.model.config import ModelConfig

Array = NDArray[np.float64]

WEIGHT_LIMIT = (1 << (WEIGHT_BITS - 1)) - 1
"""Largest magnitude of an integer weight."""

UNIT_SHIFT = MANTISSA_BITS - PRE_SHIFT
"""``requantise`` multiplies by ``2**(UNIT_SHIFT - shift)`` times what the mantissa stands for."""

_SMALLEST_PEAK = 1e-3
"""Stands in for smaller peaks, those of zeros among them."""

_LARGEST_EXPONENT = 16
"""Finer grids than this would need larger shifts than there are; only zeros want them."""


@dataclass(frozen=True)
class WeightScales:
    """The grids of one network.

    Attributes
    ----------
    factors
        By the name of the weight, an array that broadcasts to its shape: ``weight * factor`` is
        the weight in units of its grid, within +-``WEIGHT_LIMIT``.
    start_shift
        Shift of the site ``start`` that fits `stream`.
    stream
        What one is worth in the integer residual stream.
    exponents
        For each layer by path (``score``, ``value``, ``mlp``) the exponent of the product of
        the path's two factors; the shifts of the path's sites make up for it.
    """

    factors: dict[str, Array]
    start_shift: int
    stream: float
    exponents: tuple[dict[str, int], ...]


def weight_scales(config: ModelConfig, weights: Mapping[str, NDArray]) -> WeightScales:
    """Fit the grids to the peaks of the weights.

    Parameters
    ----------
    config
        The shape.
    weights
        Arrays by name, shaped as `ModelConfig.weight_shapes` says.
    """
    peaks = {
        name: np.maximum(np.abs(weights[name].astype(np.float64)), _SMALLEST_PEAK)
        for name in config.weight_shapes()
    }
    root = np.sqrt(config.width)
    # A normalised embedding has an rms of one; its largest possible element is `root`.
    start_shift = EMBEDDING_SHIFT - 1 - round(np.log2(config.width) / 2)
    stream = 2.0 ** (UNIT_SHIFT + EMBEDDING_SHIFT - start_shift) / root
    octaves = np.log2(np.e) / np.sqrt(config.head_width) * 2.0 ** (SCORE_FRACTION + SCORE_SHIFT)
    # Token and position are added before the norm: they need a common unit.
    embeddings = [name for name in ("wte", "wpe") if name in peaks]
    embedding = np.array(WEIGHT_LIMIT / max(peaks[name].max() for name in embeddings))
    factors = dict.fromkeys(embeddings, embedding)
    exponents = []
    for index in range(config.layers):
        layer = f"layer{index}"
        exponents.append({})
        for path, first, second, unit in (
            ("score", "attn_wq", "attn_wk", octaves * config.width),
            ("value", "attn_wv", "attn_wo", stream * root),
            ("mlp", "mlp_fc1", "mlp_fc2", stream * root),
        ):
            # Keys are rows like the queries; the other second matrices read the first's rows.
            axis = 1 if path == "score" else 0
            one, two, exponent = share(
                peaks[f"{layer}.{first}"].max(axis=1),
                peaks[f"{layer}.{second}"].max(axis=axis),
                unit,
            )
            factors[f"{layer}.{first}"] = one[:, None]
            factors[f"{layer}.{second}"] = two[:, None] if axis else two[None, :]
            exponents[index][path] = exponent
    factors["lm_head"] = np.array(WEIGHT_LIMIT / peaks["lm_head"].max())
    return WeightScales(factors, start_shift, stream, tuple(exponents))


def share(
    first: Array, second: Array, unit: float, limit: int = WEIGHT_LIMIT
) -> tuple[Array, Array, int]:
    """Factors for two matrices joined row by row, such that each pair has equal peaks.

    Every pair of factors multiplies to ``unit * 2**exponent``, the largest for which both fit.

    Parameters
    ----------
    first, second
        Peaks of the pairs.
    unit
        What the products may differ from by powers of two only.
    limit
        Largest integer of either matrix.

    Returns
    -------
    tuple
        Factors of the first and of the second matrix, and the exponent.
    """
    room = limit**2 / (unit * (first * second).max())
    exponent = min(int(np.floor(np.log2(room))), _LARGEST_EXPONENT)
    product = unit * 2.0**exponent
    factor = np.sqrt(product * second / first)
    return factor, product / factor, exponent
