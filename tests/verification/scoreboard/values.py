"""Every number that a token makes in the core, computed from the golden model's intermediates."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from gptloom.firmware.layout import Layout
from gptloom.firmware.machine import QUAD
from gptloom.model import tables
from gptloom.model.arithmetic import Integers
from gptloom.model.cache import KVCache
from gptloom.model.integer import IntegerModel

MATRICES = {"q": "wq", "k": "wk", "v": "wv", "out": "wo", "hidden": "fc1", "mlp": "fc2"}
"""The matrix whose product a site is."""

ZERO = 0
"""Index of a number that is always zero: what fills up."""


@dataclass(frozen=True)
class Segment:
    """A part of a token's numbers.

    Attributes
    ----------
    layer, site
        What the program calls the step that makes them.
    what
        Which of the step's numbers: its ``value`` as the golden model's trace has it, or a number
        on the way there.
    offset, shape
        Where they are.
    """

    layer: int
    site: str
    what: str
    offset: int
    shape: tuple[int, ...]

    @property
    def indices(self) -> NDArray[np.int64]:
        """Index of each number, in the segment's shape."""
        return self.offset + np.arange(prod(self.shape)).reshape(self.shape)


class TokenNumbers:
    """Numbers of one token as one flat array of int64, and what each of them is.

    ===========  ====================  ==============================================
    site         what                  shape
    ===========  ====================  ==============================================
    all          value                 as the golden model's trace, one token
    matrices     sum                   passes, quads, units: accumulators as they grow
    embedding,   norm                  mantissa, exponent of the stream's norm
    out, mlp
    k, v         cached                context, width: rows of all positions so far
    score        sum                   context, heads, quads of a head: as they grow
    score        maximum               context, heads: complement, up to each position
    numerator    total                 context, heads: sums up to each position
    numerator    reciprocal            heads, (mantissa, exponent)
    mix          sum                   width, quads of positions: in drain order
    logits       noise                 vocabulary
    logits       token                 1
    ===========  ====================  ==============================================
    """

    def __init__(self, model: IntegerModel, layout: Layout):
        self.model, self.layout = model, layout
        c = model.config
        self._segments: dict[tuple[int, str, str], Segment] = {}
        self.size = 0
        self._tiles: dict[tuple[int, str], Integers] = {}
        self._add(0, "", "zero", 1)
        self._add(0, "embedding", "value", c.width)
        self._add(0, "embedding", "norm", 2)
        self._add(0, "start", "value", c.width)
        for layer in range(c.layers):
            for site in ("q", "k", "v", "mix", "out", "mlp"):
                self._add(layer, site, "value", c.width)
            self._add(layer, "hidden", "value", c.hidden)
            for site, matrix in MATRICES.items():
                self._tile(layer, site, matrix, model.layers[layer].weights[matrix])
            for site in ("k", "v"):
                self._add(layer, site, "cached", c.context, c.width)
            for site in ("out", "mlp"):
                self._add(layer, site, "norm", 2)
            self._add(layer, "score", "value", c.context, c.heads)
            self._add(layer, "score", "maximum", c.context, c.heads)
            self._add(layer, "score", "sum", c.context, c.heads, layout.head_quads)
            self._add(layer, "numerator", "value", c.context, c.heads)
            self._add(layer, "numerator", "total", c.context, c.heads)
            self._add(layer, "numerator", "reciprocal", c.heads, 2)
            self._add(layer, "mix", "sum", c.width, c.context // QUAD)
        self._tile(0, "logits", "lm_head", model.lm_head)
        self._add(0, "logits", "value", c.vocabulary)
        self._add(0, "logits", "noise", c.vocabulary)
        self._add(0, "logits", "token", 1)
        self._offsets = np.array([s.offset for s in self._segments.values()])

    def segment(self, layer: int, site: str, what: str = "value") -> Segment:
        """Return a segment by its names."""
        return self._segments[layer, site, what]

    def tiles(self, layer: int, site: str) -> Integers:
        """Return a matrix as the engine reads it: [passes, units, quads, 4], padded with zeros."""
        return self._tiles[layer, site]

    def name(self, index: int) -> tuple[Segment, tuple[int, ...]]:
        """Return what the number of an index is: its segment, and its place there."""
        number = int(np.searchsorted(self._offsets, index, "right")) - 1
        segment = list(self._segments.values())[number]
        return segment, tuple(map(int, np.unravel_index(index - segment.offset, segment.shape)))

    def compute(
        self, trace: Mapping[tuple[int, str], Integers], cache: KVCache, position: int
    ) -> Integers:
        """Return the numbers of one token, but for the sampler's.

        Parameters
        ----------
        trace
            The golden model's intermediates of this token, by layer and site.
        cache
            Its keys and values, this position's included.
        position
            Of the token.
        """
        c = self.model.config
        numbers = np.zeros(self.size, np.int64)

        def put(layer: int, site: str, what: str, values: Integers) -> None:
            segment = self._segments[layer, site, what]
            view = numbers[segment.offset : segment.offset + prod(segment.shape)]
            view = view.reshape(segment.shape)
            view[tuple(slice(n) for n in values.shape)] = values

        for (layer, site), value in trace.items():
            if site not in ("score", "numerator"):
                put(layer, site, "value", value.reshape(-1))
        source = trace[0, "embedding"].reshape(-1)
        put(0, "embedding", "norm", _norm(source))
        for layer in range(c.layers):
            keys = cache.keys[layer, 0, : position + 1]
            values = cache.values[layer, 0, : position + 1]
            put(layer, "k", "cached", keys)
            put(layer, "v", "cached", values)
            for site in ("q", "k", "v"):
                put(layer, site, "sum", self._grow(layer, site, source))
            self._attend(put, layer, trace, keys, values)
            mixed = trace[layer, "mix"].reshape(-1)[self.layout.value_order]
            put(layer, "out", "sum", self._grow(layer, "out", mixed))
            source = trace[layer, "out"].reshape(-1)
            put(layer, "out", "norm", _norm(source))
            put(layer, "hidden", "sum", self._grow(layer, "hidden", source))
            hidden = trace[layer, "hidden"].reshape(-1)
            put(layer, "mlp", "sum", self._grow(layer, "mlp", hidden))
            source = trace[layer, "mlp"].reshape(-1)
            put(layer, "mlp", "norm", _norm(source))
        put(0, "logits", "sum", self._grow(0, "logits", source))
        return numbers

    def put_sample(self, numbers: Integers, logits: Integers, noise: Integers, token: int) -> None:
        """Add the sampler's numbers to a token's."""
        for what, values in (("value", logits), ("noise", noise), ("token", np.array([token]))):
            offset = self._segments[0, "logits", what].offset
            numbers[offset : offset + len(values)] = values

    def _attend(self, put, layer: int, trace, keys: Integers, values: Integers) -> None:
        """Add the numbers of attention; `keys` and `values` are [positions, width]."""
        c, positions = self.model.config, len(keys)
        score = trace[layer, "score"].reshape(positions, c.heads)
        numerator = trace[layer, "numerator"].reshape(positions, c.heads)
        put(layer, "score", "value", score)
        put(layer, "score", "maximum", ~np.maximum.accumulate(score, axis=0))
        put(layer, "numerator", "value", numerator)
        # Positions that fill up a word add nothing.
        padded = np.zeros((-(-positions // QUAD) * QUAD, c.heads), np.int64)
        padded[:positions] = numerator
        totals = np.cumsum(padded, axis=0)
        put(layer, "numerator", "total", totals)
        reciprocal = np.stack(tables.reciprocal(totals[-1]), axis=-1)
        put(layer, "numerator", "reciprocal", reciprocal)

        query = trace[layer, "q"].reshape(1, c.heads, c.head_width)
        products = np.zeros((positions, c.heads, self.layout.head_quads * QUAD), np.int64)
        products[..., : c.head_width] = query * keys.reshape(positions, c.heads, c.head_width)
        put(layer, "score", "sum", np.cumsum(products, axis=-1)[..., QUAD - 1 :: QUAD])

        head = np.arange(c.width) % c.heads
        weighted = numerator[:, head] * values[:, self.layout.value_order]
        sums = np.cumsum(weighted, axis=0)
        last = np.minimum(np.arange(QUAD - 1, len(padded), QUAD), positions - 1)
        put(layer, "mix", "sum", sums[last].T)

    def _grow(self, layer: int, site: str, source: Integers) -> Integers:
        """Return a product's accumulators after each quad: [passes, quads, units]."""
        tiles = self._tiles[layer, site]
        quads = source.reshape(tiles.shape[2], QUAD)
        products = np.einsum("puqi,qi->pqu", tiles, quads)
        return np.cumsum(products, axis=1)

    def _add(self, layer: int, site: str, what: str, *shape: int) -> None:
        self._segments[layer, site, what] = Segment(layer, site, what, self.size, shape)
        self.size += prod(shape)

    def _tile(self, layer: int, site: str, name: str, weights: Integers) -> None:
        units = self.layout.machine.units
        order = self.layout.query_order
        if site in ("q", "k"):
            weights = np.where(order[:, None] >= 0, weights[order], 0)
        if site == "v":
            weights = weights[self.layout.value_order]
        if site == "out":
            weights = weights[:, self.layout.value_order]
        passes = -(-len(weights) // units)
        padded = np.zeros((passes * units, weights.shape[1]), np.int64)
        padded[: len(weights)] = weights
        tiles = padded.reshape(passes, units, -1, QUAD)
        self._tiles[layer, site] = tiles
        self._add(layer, site, "sum", passes, tiles.shape[2], units)


def _norm(stream: Integers) -> Integers:
    return np.array(tables.rsqrt(np.sum(stream**2)))
