"""All numbers of a token in the core, computed from the golden model's intermediates."""

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
from gptloom.model.sites import Becomes, Key, Kind, Site

ZERO = 0
"""Index of a number that is always zero, for padding."""


@dataclass(frozen=True)
class Segment:
    """A part of a token's numbers.

    Attributes
    ----------
    site
        Site that computes them; None for the padding zero.
    what
        Kind of the site's numbers: its ``value`` as in the golden model's trace, or an intermediate
        result.
    offset, shape
        Place in the token's array, and shape.
    """

    site: Site | None
    what: str
    offset: int
    shape: tuple[int, ...]

    @property
    def indices(self) -> NDArray[np.int64]:
        """Index of each number, in the segment's shape."""
        return self.offset + np.arange(prod(self.shape)).reshape(self.shape)


class TokenNumbers:
    """Layout of one token's numbers in one flat int64 array.

    ===========  ====================  ==============================================
    site         what                  shape
    ===========  ====================  ==============================================
    all          value                 as the golden model's trace, one token
    products     sum                   passes, quads, units: accumulators as they grow
    stream       norm                  mantissa, exponent of the stream's norm
    cached       cached                context, width of a row: those in use
    scores       sum                   context, heads, quads of a head: as they grow
    scores       maximum               context, heads: complement, up to each position
    softmax      total                 context, heads: sums up to each position
    softmax      reciprocal            heads, (mantissa, exponent)
    mix          sum                   width, quads of rows: in drain order
    embedding    raw                   width: weights, where the result is a product of them
    logits       noise                 vocabulary
    logits       token                 1
    ===========  ====================  ==============================================
    """

    def __init__(self, model: IntegerModel, layout: Layout):
        self.model, self.layout = model, layout
        self._segments: dict[tuple[Key | None, str], Segment] = {}
        self.size = 0
        c = model.config
        # Neighbouring heads share a head of the cache.
        self._shared = np.arange(c.heads) * c.cached_heads // c.heads
        self._tiles: dict[Key, Integers] = {}
        self._add(None, "zero", 1)
        for site in model.network.sites:
            self._add_site(site)
        self._offsets = np.array([s.offset for s in self._segments.values()])

    def _add_site(self, site: Site) -> None:
        c = self.model.config
        if site.kind is Kind.SCORES:
            self._add(site, "value", c.context, c.heads)
            self._add(site, "maximum", c.context, c.heads)
            self._add(site, "sum", c.context, c.heads, self.layout.head_quads)
        elif site.kind is Kind.SOFTMAX:
            self._add(site, "value", c.context, c.heads)
            self._add(site, "total", c.context, c.heads)
            self._add(site, "reciprocal", c.heads, 2)
        else:
            self._add(site, "value", site.elements)
        if site.kind is Kind.MIX:
            self._add(site, "sum", site.elements, c.context // QUAD)
        if site.matrix:
            self._tile(site)
        if site.is_cached:
            self._add(site, "cached", c.context, c.cached_width)
        if site.kind is Kind.EMBEDDING and site.shifted:
            self._add(site, "raw", site.elements)
        if site.becomes is Becomes.STREAM:
            self._add(site, "norm", 2)
        if site.becomes is Becomes.LOGITS:
            self._add(site, "noise", c.vocabulary)
            self._add(site, "token", 1)

    def segment(self, site: Site, what: str = "value") -> Segment:
        """Return a site's segment."""
        return self._segments[site.key, what]

    def tiles(self, site: Site) -> Integers:
        """Return a matrix as the MAC array reads it: [passes, units, quads, 4], padded with 0."""
        return self._tiles[site.key]

    def name(self, index: int) -> tuple[Segment, tuple[int, ...]]:
        """Return the segment and the position in it of the number at an index."""
        number = int(np.searchsorted(self._offsets, index, "right")) - 1
        segment = list(self._segments.values())[number]
        return segment, tuple(map(int, np.unravel_index(index - segment.offset, segment.shape)))

    def compute(
        self, trace: Mapping[tuple[int, str], Integers], cache: KVCache, token: int
    ) -> Integers:
        """Return the numbers of one token, except the sampler's.

        Parameters
        ----------
        trace
            The golden model's intermediates of this token, by layer and site.
        cache
            Its keys and values, this token's included.
        token
            The token.
        """
        numbers = np.zeros(self.size, np.int64)
        table = self.model.network

        def put(site: Site, what: str, values: Integers) -> None:
            segment = self.segment(site, what)
            view = numbers[segment.offset : segment.offset + prod(segment.shape)]
            view = view.reshape(segment.shape)
            view[tuple(slice(n) for n in values.shape)] = values

        def cached(site: Site) -> Integers:
            return cache.rows[site.becomes][site.layer, 0, : cache.occupied]

        for site in table.sites:
            value, source = trace.get(site.key), trace.get(site.source)
            match site.kind:
                case Kind.EMBEDDING if site.shifted:
                    put(site, "raw", self.model.weights[table.tokens.name][token])
                case Kind.PRODUCT:
                    order = self.layout.order(table[site.source])
                    put(site, "sum", self._grow(site, source.reshape(-1)[order]))
                case Kind.SCORES:
                    self._put_scores(put, site, value[0, 0], source, cached(table[site.rows]))
                case Kind.SOFTMAX:
                    self._put_softmax(put, site, value[0, 0])
                case Kind.MIX:
                    self._put_mix(put, site, source[0, 0], cached(table[site.rows]))
            if site.kind not in (Kind.SCORES, Kind.SOFTMAX) and value is not None:
                put(site, "value", value.reshape(-1))
            if site.is_cached:
                put(site, "cached", cached(site))
            if site.becomes is Becomes.STREAM:
                put(site, "norm", _norm(value))
        return numbers

    def put_sample(self, numbers: Integers, logits: Integers, noise: Integers, token: int) -> None:
        """Add the sampler's numbers to a token's."""
        for what, values in (("value", logits), ("noise", noise), ("token", np.array([token]))):
            offset = self.segment(self.model.network.head, what).offset
            numbers[offset : offset + len(values)] = values

    def _put_scores(self, put, site: Site, score: Integers, query: Integers, keys: Integers):
        """Add scores, their sums and maxima; `keys` is [rows, width]."""
        c, rows = self.model.config, len(keys)
        put(site, "value", score)
        put(site, "maximum", ~np.maximum.accumulate(score, axis=0))
        products = np.zeros((rows, c.heads, self.layout.head_quads * QUAD), np.int64)
        own = keys.reshape(rows, c.cached_heads, c.head_width)[:, self._shared]
        products[..., : c.head_width] = query.reshape(1, c.heads, c.head_width) * own
        put(site, "sum", np.cumsum(products, axis=-1)[..., QUAD - 1 :: QUAD])

    def _put_softmax(self, put, site: Site, numerator: Integers) -> None:
        """Add numerators and their totals."""
        put(site, "value", numerator)
        # Positions that pad a word add nothing.
        filling = -len(numerator) % QUAD
        totals = np.cumsum(np.pad(numerator, ((0, filling), (0, 0))), axis=0)
        put(site, "total", totals)
        put(site, "reciprocal", np.stack(tables.reciprocal(totals[-1]), axis=-1))

    def _put_mix(self, put, site: Site, numerator: Integers, values: Integers) -> None:
        """Add the growing sums of weighted values; `values` is [rows, width]."""
        c, rows = self.model.config, len(values)
        head, element = self.layout.order(site) // c.head_width, self.layout.order(site)
        own = values.reshape(rows, c.cached_heads, c.head_width)[:, self._shared[head]]
        factors = own[:, np.arange(len(head)), element % c.head_width]
        sums = np.cumsum(numerator[:, head] * factors, axis=0)
        last = np.minimum(np.arange(QUAD - 1, rows + QUAD - 1, QUAD), rows - 1)
        put(site, "sum", sums[last].T)

    def _grow(self, site: Site, source: Integers) -> Integers:
        """Return a product's accumulators after each quad: [passes, quads, units]."""
        tiles = self.tiles(site)
        quads = source.reshape(tiles.shape[2], QUAD)
        products = np.einsum("puqi,qi->pqu", tiles, quads)
        return np.cumsum(products, axis=1)

    def _add(self, site: Site | None, what: str, *shape: int) -> None:
        self._segments[site and site.key, what] = Segment(site, what, self.size, shape)
        self.size += prod(shape)

    def _tile(self, site: Site) -> None:
        table, units = self.model.network, self.layout.machine.units
        rows, columns = self.layout.order(site), self.layout.order(table[site.source])
        weights = self.model.weights[site.matrix.name][:, columns]
        passes = -(-len(rows) // units)
        padded = np.zeros((passes * units, len(columns)), np.int64)
        padded[: len(rows)] = np.where(rows[:, None] >= 0, weights[rows], 0)
        tiles = padded.reshape(passes, units, -1, QUAD)
        self._tiles[site.key] = tiles
        self._add(site, "sum", passes, tiles.shape[2], units)


def _norm(stream: Integers) -> Integers:
    return np.array(tables.rsqrt(np.sum(stream**2)))
