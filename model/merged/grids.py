"""Integer grids that the numbers of the merged form are rounded to.

Hardware scales by powers of two only: every site has a shift. That costs little, because the
factors between two neighbours are free (see :mod:`gptloom.model.scales`) and are absorbed by
tables and matrices: from query to key, from the values into everything that a is multiplied with,
from A1's rows through ReLU to B's columns, from the residual stream through its norm to B, from
the logits into the noise. So each matrix uses its integers' full range, and so do queries, keys
and values.

The matrices' grids come from the weights alone, which is why training can see them (:mod:`.qat`).
The rest is a power of two for every site, whose exponent is in `Formats`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gptloom.model.arithmetic import MANTISSA_BITS, SCORE_FRACTION
from gptloom.model.config import ModelConfig
from gptloom.model.formats import CacheScale
from gptloom.model.merged.algebra import Merged
from gptloom.model.merged.integer import LEAST_EXPONENT, Widths
from gptloom.model.positions import Positions
from gptloom.model.scales import share

Array = NDArray[np.float64]

LOADING = {2: 1.2, 3: 1.7, 4: 2.3, 5: 3.0, 6: 3.4, 7: 4.0}
"""Largest entry as a multiple of its matrix' rms, by weight bits; beyond it entries are clipped.

The fewer the bits, the more a coarse grid for all entries costs compared with clipping a few; from
8 bits on nothing is clipped. Those for 4 to 6 bits are near the best of several tried on
calibration rows.
"""

SMALLEST = 1e-6
"""Replaces peaks of zero."""


@dataclass(frozen=True)
class Grids:
    """The units of one layer: a real number times its unit is an integer before rounding.

    Units are up to a power of two, except those of the matrices, and in layer 0 of q, k and v.

    Attributes
    ----------
    matrices
        Units by the matrix' name, arrays that broadcast to it.
    queries, keys, values
        Units of every element of q, k and v.
    score_exponent
        ``queries * keys`` is 2 to this times the unit of scores, sixteenths of an octave.
    hidden
        Units of every element of fx and u.
    residual
        Unit of x and the residual.
    direct, product
        Units of every element of lx and y, and of ``B u``.
    norm_exponent
        ``residual * direct * sqrt(width) * 2**norm_exponent`` is `product`: the root of a sum of
        squares times ``direct`` is added to ``B u``.
    exponents
        For later layers, by name: the power of two by which the products of F and D with an x in
        units of `residual` are finer than `hidden` and `direct`.
    """

    matrices: dict[str, Array]
    queries: Array
    keys: Array
    values: Array
    score_exponent: int
    hidden: Array
    residual: float
    direct: Array
    product: Array
    norm_exponent: int
    exponents: dict[str, int]


def reachable(config: ModelConfig) -> NDArray[np.bool_]:
    """Return the pairs that occur, [vocabulary, places]: the special token only at the first place.

    With ALiBi there is one place, for every token.
    """
    if config.positions is Positions.ALIBI:
        return np.ones((config.vocabulary, 1), bool)
    seen = np.zeros((config.vocabulary, config.context), bool)
    seen[-1, 0] = True
    seen[:-1, 1:] = True
    return seen


def fit_grids(merged: Merged, widths: Widths) -> tuple[Grids, ...]:
    """Fit the grids of a network, one per layer.

    Parameters
    ----------
    merged
        The network, in NumPy arrays.
    widths
        Widths that the integers have to fit.
    """
    found: list[Grids] = []
    for index in reversed(range(merged.config.layers)):
        found.insert(0, _fit_layer(merged, widths, index, found[0] if found else None))
    return tuple(found)


def _fit_layer(merged: Merged, widths: Widths, index: int, after: Grids | None) -> Grids:
    """Fit a layer's grids; those of the layer `after` it determine the units of its outputs."""
    root, bits = np.sqrt(merged.config.width), widths.weights
    matrix = merged.layers[index]
    queries, keys, values, score_exponent = _attention(merged, widths, index)
    # These matrices multiply values that fill their integers.
    a1, a2, wo = (matrix[name] / values for name in ("a1", "a2", "wo"))
    hidden = np.sqrt(_peak(matrix["b"], axis=0) / _peak(a1, axis=1))
    hidden_unit = _fill(a1 * hidden[:, None], bits)
    if after is None:
        asked = np.ones(1)
        direct = _fill(a2, bits)
    else:
        ratios = root * np.concatenate([after.queries, after.keys, after.values])
        asked = after.residual * np.append(ratios, np.ones(merged.config.width))
        # The next layer's x has a unit already, up to a power of two.
        direct = _power(_fill(a2 * asked[:, None], bits))
    product_unit = _fill(matrix["b"] * asked[:, None] / hidden, bits)
    product = product_unit * hidden_unit
    # The residual's unit must be a power of two times the one that the norm turns into the
    # logits': it is the largest that Wo has room for.
    residual = product / (direct * root)
    fitting = _power(_fill(wo, bits, np.inf) / residual)
    residual *= fitting
    grids = {
        "a1": hidden_unit * hidden[:, None] / values,
        "a2": direct * asked[:, None] / values,
        "wo": residual / values,
        "b": product_unit * asked[:, None] / hidden,
    }
    hidden *= hidden_unit
    exponents = {}
    for name, entry, unit in (("f", "fx", hidden), ("d", "lx", direct * asked)):
        if name in matrix:
            rows = unit[:, None] / residual
            power = _power(_fill(matrix[name] * rows, bits))
            grids[name] = rows * power
            exponents[entry] = int(np.log2(power))
    return Grids(
        matrices=grids,
        queries=queries,
        keys=keys,
        values=values,
        score_exponent=score_exponent,
        hidden=hidden,
        residual=residual,
        direct=direct * asked,
        product=product * asked,
        norm_exponent=-int(np.log2(fitting)),
        exponents=exponents,
    )


def _attention(merged: Merged, widths: Widths, index: int) -> tuple[Array, Array, Array, int]:
    """Return units of queries, keys and values, and the exponent of scores."""
    octave = float(1 << SCORE_FRACTION)
    if index:
        # Upper bound of a row times a normalised x; formats tell how far k and v stay below it.
        root = np.sqrt(merged.config.width)
        most = np.maximum(np.linalg.norm(merged.asked[index - 1], axis=1) * root, SMALLEST)
        q, k, v, _ = np.split(most, 4)
        queries, keys, exponent = share(q, k, octave, np.sqrt(2))
        return queries, keys, 1 / v, exponent
    seen = reachable(merged.config)
    q, k, v = (_peak(merged.table[name][seen], axis=0) for name in ("q", "k", "v"))
    # Elements with a common scale take that of the largest.
    groups = {CacheScale.ELEMENT: q.size, CacheScale.HEAD: merged.config.heads}
    shape = (groups.get(widths.cache_scale, 1), -1)
    q, k, v = (np.broadcast_to(
        peaks.reshape(shape).max(axis=1, keepdims=True), peaks.reshape(shape).shape
    ).ravel() for peaks in (q, k, v))  # fmt: skip
    if widths.keys == widths.table:
        queries, keys, exponent = share(q, k, octave, _largest(widths.keys))
    else:
        # With few bits every key needs all of them; the queries bear the cost.
        keys = _largest(widths.keys) / k
        room = _largest(widths.table) * _largest(widths.keys) / (octave * (q * k).max())
        exponent = int(np.floor(np.log2(room)))
        queries = octave * 2.0**exponent / keys
    return queries, keys, _largest(widths.values) / v, exponent


def _largest(bits: int) -> int:
    return (1 << (bits - 1)) - 1


SUMS = {"fx": "hidden", "x": "residual", "lx": "direct"}
"""Sums that the words of the table are added to, for words that do not enter attention."""

Formats = dict[str, int]
"""Exponent of two by which the unit of every site of a layer differs from that of `Grids`.

One more is one more fraction bit. There are ``mix``, ``hidden``, ``residual``, ``root``, ``direct``
and ``product``, which is also that of the logits or of the stream. Layer 0 has ``x``, ``fx`` and
``lx``, the formats of the table; they are taken to be no finer than the sum that each is added to.
Later layers have ``k``, ``v``, ``scale`` and ``inverse``.
"""


def table_formats(merged: Merged, grids: Grids, widths: Widths) -> Formats:
    """Return the finest formats in which fx, x and lx fit the table."""
    seen = reachable(merged.config)
    largest = _largest(widths.table)
    return {
        name: int(np.floor(np.log2(largest / _peak(merged.table[name][seen] * getattr(grids, to)))))
        for name, to in SUMS.items()
    }


def added_formats(formats: Formats) -> Formats:
    """Return the formats of fx, x and lx, at least as coarse as those of their sums."""
    return {name: min(formats[name], formats[to]) for name, to in SUMS.items()}


def table_units(grids: Grids, formats: Formats) -> dict[str, Array]:
    """Return the unit of every word of the table, by entry; `formats` has fx, x and lx."""
    return {
        "q": grids.queries,
        "k": grids.keys,
        "v": grids.values,
        "x": np.float64(grids.residual * 2.0 ** formats["x"]),
        "fx": grids.hidden * 2.0 ** formats["fx"],
        "lx": grids.direct * 2.0 ** formats["lx"],
    }


def first_shifts(grids: Grids, formats: Formats) -> dict[str, int]:
    """Return :data:`.integer.SHIFTS` by name; some may be negative, which hardware cannot do."""
    added = added_formats(formats)
    return {
        "score": grids.score_exponent,
        "mix": MANTISSA_BITS + LEAST_EXPONENT - formats["mix"],
        **{name: formats[to] - added[name] for name, to in SUMS.items()},
        **_inner_shifts(grids, formats),
    }


def later_shifts(
    before: Grids, formats_before: Formats, grids: Grids, formats: Formats
) -> dict[str, int]:
    """Return :data:`.integer.LATER_SHIFTS` by name, as `first_shifts` does.

    Parameters
    ----------
    before, formats_before
        Grids and formats of the layer before.
    grids, formats
        Grids and formats of this layer.
    """
    f, stream = formats, formats_before["product"]
    return {
        "scale": f["scale"] + stream - MANTISSA_BITS,
        "inverse": f["inverse"] + formats_before["residual"] - MANTISSA_BITS,
        "k": stream + f["scale"] - f["k"],
        "v": stream + f["scale"] - f["v"],
        "score": stream + f["scale"] + f["k"] + grids.score_exponent,
        "mix": MANTISSA_BITS + LEAST_EXPONENT + f["v"] - f["mix"],
        "x": stream_exponent(before, grids) + stream + f["inverse"] - f["residual"],
        "fx": grids.exponents["fx"] + f["residual"] - f["hidden"],
        "lx": grids.exponents["lx"] + f["residual"] - f["direct"],
        **_inner_shifts(grids, f),
    }


def stream_exponent(before: Grids, grids: Grids) -> int:
    """Return the power of two by which the stream's x is finer than x times the square's root."""
    return before.norm_exponent + int(np.rint(np.log2(before.direct[-1] / grids.residual)))


def _inner_shifts(grids: Grids, f: Formats) -> dict[str, int]:
    return {
        "hidden": f["mix"] - f["hidden"],
        "residual": f["mix"] - f["residual"],
        "root": MANTISSA_BITS - 1 + f["residual"] - f["root"],
        "direct": f["mix"] - f["direct"],
        "offset": f["direct"] + f["root"] - f["product"] - grids.norm_exponent,
        "product": f["hidden"] - f["product"],
    }


def _fill(values: Array, bits: int, loading: float | None = None) -> float:
    """Return the factor with which `values` fill signed integers of `bits` bits."""
    rms = max(float(np.sqrt(np.mean(values**2))), SMALLEST)
    loading = LOADING.get(bits, np.inf) if loading is None else loading
    return _largest(bits) / min(float(_peak(values)), loading * rms)


def _power(value: float) -> float:
    """Return the largest power of two that is not above a value."""
    return 2.0 ** np.floor(np.log2(value))


def _peak(values: Array, axis: int | None = None) -> Array:
    return np.maximum(np.abs(values).max(axis=axis), SMALLEST)
