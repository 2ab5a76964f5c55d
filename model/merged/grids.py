"""Which integer grid every number of the merged form is rounded to.

Hardware scales by powers of two only: every site has a shift. That costs little, because the
factors between two neighbours are free (see :mod:`gptloom.model.scales`) and are absorbed by
tables and matrices: from query to key, from the values into all that is multiplied with a, from
A1's rows through ReLU to B's columns, from the residual stream through its norm to B, from the
logits into the noise. So each matrix fills its integers, and so do queries, keys and values.

The matrices' grids come from the weights alone, which is why training can see them (:mod:`.qat`).
What remains is a power of two for every site, its exponent in `Formats`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gptloom.model.arithmetic import MANTISSA_BITS, SCORE_FRACTION
from gptloom.model.config import ModelConfig
from gptloom.model.merged.algebra import Merged
from gptloom.model.merged.integer import LEAST_EXPONENT, Widths
from gptloom.model.scales import share

Array = NDArray[np.float64]

LOADING = {2: 1.2, 3: 1.7, 4: 2.3, 5: 3.0, 6: 3.4, 7: 4.0}
"""Largest entry in rms of its matrix, by weight bits; what lies beyond is clipped.

The fewer the bits, the more a coarse grid for all costs, beside a few clipped entries; from 8
bits on nothing is clipped. Those for 4 to 6 bits are near the best of several tried on calibration
rows.
"""

SMALLEST = 1e-6
"""Stands in for peaks of zero."""


@dataclass(frozen=True)
class Grids:
    """The units of one network: a real number times its unit is an integer before rounding.

    Attributes
    ----------
    matrices
        By :data:`.algebra.MATRICES`, arrays that broadcast to each.
    queries, keys, values
        For every element of the table's q, k and v.
    score_shift
        From ``q . k`` to sixteenths of an octave.
    hidden
        For every element of fx and u, up to a power of two.
    direct, residual, product
        Of lx and the logits, of x and the residual, of ``B u``; up to powers of two.
    norm_exponent
        ``residual * direct * sqrt(width) * 2**norm_exponent`` is `product`: the root of a sum of
        squares times ``direct`` is added to ``B u``.
    """

    matrices: dict[str, Array]
    queries: Array
    keys: Array
    values: Array
    score_shift: int
    hidden: Array
    direct: float
    residual: float
    product: float
    norm_exponent: int


def reachable(config: ModelConfig) -> NDArray[np.bool_]:
    """Which combinations occur, [vocabulary, context]: the special token is first, nothing else."""
    seen = np.zeros((config.vocabulary, config.context), bool)
    seen[-1, 0] = True
    seen[:-1, 1:] = True
    return seen


def fit_grids(merged: Merged, widths: Widths) -> Grids:
    """Fit the grids of a network of one layer.

    Parameters
    ----------
    merged
        In NumPy arrays.
    widths
        What the integers have to fit.
    """
    config = merged.config
    (matrix,) = merged.layers
    seen = reachable(config)
    peak = {name: _peak(merged.table[name][seen], axis=0) for name in ("q", "k", "v")}
    largest = (1 << (widths.table - 1)) - 1
    queries, keys, score_shift = share(peak["q"], peak["k"], float(1 << SCORE_FRACTION), largest)
    values = largest / peak["v"]
    # As they multiply values that fill their integers.
    a1, a2, wo = (matrix[name] / values for name in ("a1", "a2", "wo"))
    hidden = np.sqrt(_peak(matrix["b"], axis=0) / _peak(a1, axis=1))
    hidden_unit = _fill(a1 * hidden[:, None], widths.weights)
    direct = _fill(a2, widths.weights)
    product_unit = _fill(matrix["b"] / hidden, widths.weights)
    product = product_unit * hidden_unit
    # The residual's unit may only be so many powers of two from what the norm turns into the
    # logits': the largest that Wo has room for.
    residual = product / (direct * np.sqrt(config.width))
    norm_exponent = -int(np.floor(np.log2(_fill(wo, widths.weights, np.inf) / residual)))
    residual *= 2.0**-norm_exponent
    return Grids(
        matrices={
            "a1": hidden_unit * hidden[:, None] / values,
            "a2": direct / values,
            "wo": residual / values,
            "b": product_unit / hidden,
        },
        queries=queries,
        keys=keys,
        values=values,
        score_shift=score_shift,
        hidden=hidden_unit * hidden,
        direct=direct,
        residual=residual,
        product=product,
        norm_exponent=norm_exponent,
    )


@dataclass(frozen=True)
class Formats:
    """For every site the exponent of two by which its unit differs from that of `Grids`.

    One more is one more fraction bit. The logits' is that of ``product``. Words of the table are
    no finer than the sum that they are added to, whatever stands here.
    """

    fx: int
    x: int
    lx: int
    mix: int
    hidden: int
    residual: int
    root: int
    direct: int
    product: int


SUMS = {"fx": "hidden", "x": "residual", "lx": "direct"}
"""Where each of the table's words is added that does not enter attention."""


def table_formats(merged: Merged, grids: Grids, widths: Widths) -> dict[str, int]:
    """Return the finest formats in which fx, x and lx fit the table."""
    seen = reachable(merged.config)
    largest = (1 << (widths.table - 1)) - 1
    return {
        name: int(np.floor(np.log2(largest / _peak(merged.table[name][seen] * getattr(grids, to)))))
        for name, to in SUMS.items()
    }


def added_formats(formats: Formats) -> dict[str, int]:
    """Return the formats of fx, x and lx, as coarse as that of their sum at least."""
    return {name: min(getattr(formats, name), getattr(formats, to)) for name, to in SUMS.items()}


def table_units(grids: Grids, formats: Mapping[str, int]) -> dict[str, Array]:
    """Return the unit of every word of the table, by entry; `formats` has fx, x and lx."""
    return {
        "q": grids.queries,
        "k": grids.keys,
        "v": grids.values,
        "x": np.float64(grids.residual * 2.0 ** formats["x"]),
        "fx": grids.hidden * 2.0 ** formats["fx"],
        "lx": np.float64(grids.direct * 2.0 ** formats["lx"]),
    }


def shifts(grids: Grids, formats: Formats) -> dict[str, int]:
    """Return :data:`.integer.SHIFTS` by name; some may be negative, which hardware cannot."""
    f, added = formats, added_formats(formats)
    return {
        "score": grids.score_shift,
        "mix": MANTISSA_BITS + LEAST_EXPONENT - f.mix,
        "hidden": f.mix - f.hidden,
        "residual": f.mix - f.residual,
        "root": MANTISSA_BITS - 1 + f.residual - f.root,
        "direct": f.mix - f.direct,
        "offset": f.direct + f.root - f.product - grids.norm_exponent,
        "product": f.hidden - f.product,
        **{name: getattr(f, to) - added[name] for name, to in SUMS.items()},
    }


def _fill(values: Array, bits: int, loading: float | None = None) -> float:
    """Return the factor with which `values` fill signed integers of `bits` bits."""
    rms = max(float(np.sqrt(np.mean(values**2))), SMALLEST)
    loading = LOADING.get(bits, np.inf) if loading is None else loading
    return ((1 << (bits - 1)) - 1) / min(float(_peak(values)), loading * rms)


def _peak(values: Array, axis: int | None = None) -> Array:
    return np.maximum(np.abs(values).max(axis=axis), SMALLEST)
