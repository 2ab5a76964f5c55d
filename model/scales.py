"""Integer grids that the float weights are rounded to.

A weight becomes an integer in units of its grid, and each tensor or channel has a grid of
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
from gptloom.model.network import network
from gptloom.model.sites import Path

Array = NDArray[np.float64]


def weight_limit(bits: int) -> int:
    """Return the largest magnitude of an integer weight of this many bits."""
    return (1 << bits - 1) - 1


WEIGHT_LIMIT = weight_limit(WEIGHT_BITS)

UNIT_SHIFT = MANTISSA_BITS - PRE_SHIFT
"""``requantise`` multiplies by ``2**(UNIT_SHIFT - shift)`` times the value of the mantissa."""

MAX_SHIFT = 16
"""Largest shift of a site: with its exponent (up to 15) it stays within `requantise`'s 31."""

_SMALLEST_PEAK = 1e-3
"""Replaces smaller peaks, including those of zeros."""

_LARGEST_EXPONENT = 16
"""Finer grids would need larger shifts than there are; only zeros would use them."""


@dataclass(frozen=True)
class WeightScales:
    """The grids of one network.

    Attributes
    ----------
    factors
        Array by the name of the weight that broadcasts to its shape: ``weight * factor`` is the
        weight in units of its grid, within +-`weight_limit`.
    start_shift
        Shift of the site ``start`` that fits `stream`.
    stream
        Integer of the residual stream that stands for one.
    exponents
        Exponent of the product of the path's two factors, by layer and path; the shifts of the
        path's sites compensate for it.
    """

    factors: dict[str, Array]
    start_shift: int
    stream: float
    exponents: dict[tuple[int, Path], int]


def weight_scales(
    config: ModelConfig, weights: Mapping[str, NDArray], bits: int = WEIGHT_BITS
) -> WeightScales:
    """Fit the grids to the peaks of the weights.

    Parameters
    ----------
    config
        The shape.
    weights
        Arrays by name, shaped as `ModelConfig.weight_shapes` says.
    bits
        Width of an integer weight.
    """
    table, limit = network(config), weight_limit(bits)
    peaks = {
        tensor.name: np.maximum(np.abs(weights[tensor.name].astype(np.float64)), _SMALLEST_PEAK)
        for tensor in table.weights
    }
    root = np.sqrt(config.width)
    # A normalised embedding has an rms of one; its largest possible element is `root`.
    start_shift = EMBEDDING_SHIFT - 1 - round(np.log2(config.width) / 2)
    stream = 2.0 ** (UNIT_SHIFT + EMBEDDING_SHIFT - start_shift) / root
    octaves = np.log2(np.e) / np.sqrt(config.head_width) * 2.0 ** (SCORE_FRACTION + SCORE_SHIFT)
    # Token and position are added before the norm: they need a common unit.
    embeddings = [tensor.name for tensor in table.embeddings]
    factors = dict.fromkeys(embeddings, np.array(limit / max(peaks[e].max() for e in embeddings)))
    exponents = {}
    for key, (first, *_, last) in table.paths.items():
        # Keys are rows like the queries; the other second matrices read the first's rows.
        axis, unit = (1, octaves * config.width) if last.is_cached else (0, stream * root)
        one, two = first.matrix.name, last.matrix.name
        outer, inner, exponents[key] = share(
            peaks[one].max(axis=1), peaks[two].max(axis=axis), unit, limit
        )
        factors[one], factors[two] = outer[:, None], np.expand_dims(inner, axis)
    head = table.head.matrix.name
    factors[head] = np.array(limit / peaks[head].max())
    return WeightScales(factors, start_shift, stream, exponents)


def share(
    first: Array, second: Array, unit: float, limit: int = WEIGHT_LIMIT
) -> tuple[Array, Array, int]:
    """Return factors for two matrices joined row by row, such that each pair has equal peaks.

    Every pair of factors multiplies to ``unit * 2**exponent``, the largest for which both fit.

    Parameters
    ----------
    first, second
        Peaks of the pairs.
    unit
        Value that the products may differ from only by powers of two.
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
