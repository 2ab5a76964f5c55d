"""One layer of the merged golden model, with the steps listed in :mod:`.integer`.

Values are [batch, time, elements] throughout; ``note`` receives and returns each by its name.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from gptloom.model import tables
from gptloom.model.arithmetic import Integers, round_shift, saturate
from gptloom.model.cache import Memory
from gptloom.model.config import ModelConfig
from gptloom.model.merged.integer import (
    EXP2_ENTRIES,
    LEAST_EXPONENT,
    SCORE_BITS,
    STREAM_ENTRIES,
    Layer,
    Widths,
)
from gptloom.model.positions import Positions, penalty

Note = Callable[[str, Integers], Integers]


class Entry(NamedTuple):
    """Inputs of a layer, in the units in which they are used.

    Attributes
    ----------
    q, k, v
        Query, and the key and value to cache: [..., width].
    x, fx, lx
        Terms added to the residual, to the hidden layer and to ``direct``.
    scale
        Factor that scores are still to be multiplied with, [..., 1]; None in layer 0.
    """

    q: Integers
    k: Integers
    v: Integers
    x: Integers
    fx: Integers
    lx: Integers
    scale: Integers | None


class Outputs(NamedTuple):
    """Outputs of a layer.

    Attributes
    ----------
    product, direct
        [..., outputs]; in the last layer, one for each token.
    root, square
        [..., 1].
    """

    product: Integers
    direct: Integers
    root: Integers
    square: Integers


@dataclass(frozen=True)
class LayerSteps:
    """The steps of one layer.

    Parameters
    ----------
    config, widths
        Shape and widths of the model.
    layer
        Its constants.
    note
        Called with each site and its value, which it returns.
    """

    config: ModelConfig
    widths: Widths
    layer: Layer
    note: Note

    def look_up(self, rows: dict[str, Integers]) -> Entry:
        """Enter layer 0 with the rows of the table, by name."""
        for name, row in rows.items():
            self.note(name, row)
        shifts = self.layer.shifts
        added = (rows[name] << shifts[name] for name in ("x", "fx", "lx"))
        return Entry(rows["q"], rows["k"], rows["v"], *added, None)

    def enter(self, before: Outputs, offset: int) -> Entry:
        """Enter a later layer with the outputs of the one before and its shift ``offset``."""
        note, widths, shifts = self.note, self.widths, self.layer.shifts
        stream = saturate(before.product + offset_of(before, offset), widths.stream)
        names = zip(STREAM_ENTRIES, np.split(note("stream", stream), 4, axis=-1), strict=True)
        part = dict(names)
        energy = note("energy", np.sum(part["x"] ** 2, axis=-1, keepdims=True))
        scale = note("scale", self._inverse_root(energy, "scale"))
        inverse = note("inverse", self._inverse_root(before.square, "inverse"))

        def scaled(name: str, factor: Integers, bits: int) -> Integers:
            return note(name, saturate(round_shift(part[name] * factor, shifts[name]), bits))

        k, v = scaled("k", scale, widths.keys), scaled("v", scale, widths.values)
        x = scaled("x", inverse, widths.residual)
        fx, lx = (
            note(name, round_shift(self._product(matrix, x), shifts[name]))
            for name, matrix in (("fx", "f"), ("lx", "d"))
        )
        return Entry(part["q"], k, v, x, fx, lx, scale)

    def mix(self, entry: Entry, keys: Integers, values: Integers, memory: Memory) -> Integers:
        """Return the softmax-weighted values, [batch, time, width].

        `keys` and `values` are [batch, keys, width]; the memory says which of them are seen.
        """
        c, note, shifts = self.config, self.note, self.layer.shifts
        q, keys, values = (
            rows.reshape(*rows.shape[:2], c.heads, c.head_width).swapaxes(1, 2)
            for rows in (entry.q, keys, values)
        )
        scores = np.moveaxis(_exact(q, keys.swapaxes(2, 3)), 1, 3)
        if entry.scale is not None:
            scores = scores * entry.scale[..., None]
        scores = round_shift(scores, shifts["score"])
        if c.positions is Positions.ALIBI:
            scores = scores - penalty(memory.distance, c.heads)
        scores = note("score", saturate(scores, SCORE_BITS))
        seen = memory.visible[..., None]
        lowest = np.iinfo(np.int64).min
        maximum = np.max(np.where(seen, scores, lowest), axis=2, keepdims=True)
        note("maximum", maximum[:, :, 0])
        distance = np.where(seen, maximum - scores, 0)
        numerators = np.where(seen, tables.exp2_negative(distance, EXP2_ENTRIES), 0)
        note("numerator", numerators)
        denominator = note("denominator", np.sum(numerators, axis=2))
        weighted = _exact(np.moveaxis(numerators, 3, 1), values).swapaxes(1, 2)
        note("weighted", weighted)
        mantissa, exponent = tables.reciprocal(denominator)
        note("mantissa", mantissa)
        note("exponent", exponent)
        mantissa, exponent = mantissa[..., None], exponent[..., None]
        reduced = note("reduced", weighted >> (exponent - LEAST_EXPONENT))
        mixed = saturate(round_shift(reduced * mantissa, shifts["mix"]), self.widths.activations)
        return note("mix", mixed.reshape(entry.q.shape))

    def finish(self, entry: Entry, a: Integers) -> Outputs:
        """Compute the outputs of the layer from the mixed values."""
        note, widths, shifts = self.note, self.widths, self.layer.shifts

        def added(value: Integers, matrix: str, site: str) -> Integers:
            return value + round_shift(self._product(matrix, a), shifts[site])

        u = np.clip(added(entry.fx, "a1", "hidden"), 0, (1 << widths.activations) - 1)
        note("hidden", u)
        residual = saturate(added(entry.x, "wo", "residual"), widths.residual)
        note("residual", residual)
        square = note("square", np.sum(residual**2, axis=-1, keepdims=True))
        mantissa, exponent = tables.sqrt(square)
        note("root_mantissa", mantissa)
        note("root_exponent", exponent)
        root = round_shift(mantissa << exponent, shifts["root"])
        root = note("root", np.minimum(root, (1 << widths.root) - 1))
        direct = note("direct", saturate(added(entry.lx, "a2", "direct"), widths.direct))
        product = note("product", round_shift(self._product("b", u), shifts["product"]))
        return Outputs(product, direct, root, square)

    def _product(self, name: str, values: Integers) -> Integers:
        return self.note(name, _exact(values, self.layer.weights[name].T))

    def _inverse_root(self, square: Integers, site: str) -> Integers:
        mantissa, exponent = tables.rsqrt(square)
        inverse = round_shift(mantissa << self.layer.shifts[site], exponent)
        return np.minimum(inverse, (1 << self.widths.root) - 1)


def _exact(one: Integers, two: Integers) -> Integers:
    """Multiply matrices as doubles, which hold integers up to 2**53 and are multiplied fast."""
    return (one.astype(float) @ two.astype(float)).astype(np.int64)


def offset_of(outputs: Outputs, shift: int, noise: Integers | int = 0) -> Integers:
    """Return the term added to ``product``: ``(direct + noise) * root >> shift``."""
    return round_shift((outputs.direct + noise) * outputs.root, shift)
