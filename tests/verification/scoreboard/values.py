"""All numbers of a token in the core, computed from the golden model's intermediates."""

from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from gptloom.firmware.layout import Layout
from gptloom.firmware.machine import QUAD
from gptloom.model.arithmetic import Integers
from gptloom.model.integer import IntegerModel
from gptloom.model.positions import Positions
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
    scaled       scaled                as the value, before function and combination
    embedding    raw, word             width: a row of weights; quads: where they are in memory
    embedding    exponent              1: shift of the token's row
    embedding    turn                  (cosine, sine), pairs of a head: angles of the position
    logits       noise                 vocabulary
    logits       token                 1
    ===========  ====================  ==============================================
    """

    def __init__(self, model: IntegerModel, layout: Layout):
        self.model, self.layout = model, layout
        self._segments: dict[tuple[Key | None, str], Segment] = {}
        self.size = 0
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
            self._add(site, "word", site.elements // QUAD)
            self._add(site, "exponent", 1)
        if site.kind is Kind.EMBEDDING and c.positions is Positions.ROTARY:
            self._add(site, "turn", 2, c.head_width // 2)
        if site.shifted:
            self._add(site, "scaled", site.elements)
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
