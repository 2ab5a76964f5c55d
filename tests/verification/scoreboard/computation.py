"""One token's numbers, computed from the golden model's values and compared with an opinion."""

from collections.abc import Mapping
from math import prod

import numpy as np

from gptloom.firmware.machine import QUAD
from gptloom.model import tables
from gptloom.model.arithmetic import Integers
from gptloom.model.cache import KVCache
from gptloom.model.integer import LogitScale
from gptloom.model.positions import Positions
from gptloom.model.sites import Becomes, Key, Kind, Scaling, Site
from verification.scoreboard.opinion import Opinion, OpinionError, Scale
from verification.scoreboard.values import TokenNumbers

UNIT_MANTISSA = 256
"""Mantissa that stands for one."""

GAIN_SHIFT = 8
"""Shift of the stream where it takes the place of a sum."""


class Computation:
    """Computes sums from the values of the golden model, and from these its values once more.

    Parameters
    ----------
    numbers
        Where the numbers go.
    opinion
        What becomes of sums.
    trace
        The golden model's intermediates of this token, by layer and site.
    cache
        Its keys and values, this token's included.
    token, position
        The token, and the number of those before it.

    Attributes
    ----------
    found
        The token's numbers, except the sampler's.

    Raises
    ------
    OpinionError
        If the golden model has other values.
    """

    def __init__(
        self,
        numbers: TokenNumbers,
        opinion: Opinion,
        trace: Mapping[Key, Integers],
        cache: KVCache,
        token: int,
        position: int,
    ):
        self._layout, self._table = numbers.layout, numbers.model.network
        self._model, self._numbers, self._opinion = numbers.model, numbers, opinion
        self._trace, self._cache = trace, cache
        self._token, self._position = token, position
        c = numbers.model.config
        # Neighbouring heads share a head of the cache.
        self._shared = np.arange(c.heads) * c.cached_heads // c.heads
        self._scales: dict[Scaling, Scale] = {Scaling.ONE: (UNIT_MANTISSA, 0)}
        self._values: dict[Key, Integers] = {}
        self.found = np.zeros(numbers.size, np.int64)
        for site in self._table.sites:
            self._compute(site)

    def sample(self, logits: Integers, scale: LogitScale, noise: Integers, token: int) -> None:
        """Add the sampler's numbers."""
        head = self._table.head
        factor = scale.mantissa, 0
        own = self._opinion.scaled(head, self._sums, factor, self._token, scale.shift)
        self._agree(head, own, logits)
        self._put(head, "value", logits)
        self._put(head, "noise", noise)
        self._put(head, "token", np.array([token]))

    def _compute(self, site: Site) -> None:
        sums = self._sum(site)
        if site is self._table.head:
            self._sums = sums
            return
        value = self._trace[site.key][0, 0]
        if sums is not None and site.shifted:
            sums = self._opinion.scaled(site, sums, self._scales[site.scale], self._token)
            self._put(site, "scaled", sums)
        if sums is not None:
            own = self._opinion.value(site, sums, self._position, self._values)
            self._agree(site, own, value)
        self._put(site, "value", value)
        if site.is_cached:
            self._put(site, "cached", self._rows(site))
        if site.becomes is Becomes.STREAM:
            mantissa, exponent = self._scales[Scaling.NORM] = tables.rsqrt(np.sum(value**2))
            self._put(site, "norm", np.array([mantissa, exponent]))
        self._values[site.key] = value

    def _sum(self, site: Site) -> Integers | None:
        """Return the sums that a site's elements are made of; None where there is no shift.

        Their parts become the token's numbers.
        """
        match site.kind:
            case Kind.EMBEDDING:
                return self._embedding(site)
            case Kind.NORM:
                stream = self._values[site.source]
                if site.gain:
                    return stream * self._model.weights[site.gain.name][0]
                return stream << GAIN_SHIFT
            case Kind.PRODUCT:
                return self._product(site)
            case Kind.SCORES:
                return self._scores(site)
            case Kind.SOFTMAX:
                self._softmax(site)
            case Kind.MIX:
                return self._mix(site)
        return None

    def _embedding(self, site: Site) -> Integers:
        c, tokens, table = self._model.config, self._table.tokens, self._table
        row = self._model.weights[tokens.name][self._token]
        if c.positions is Positions.ROTARY:
            self._put(site, "turn", np.stack(self._opinion.turns(self._position)))
        if not site.shifted:
            learned = table.positions
            return row + self._model.weights[learned.name][self._position] if learned else row
        self._put(site, "raw", row)
        matrix = self._layout.matrices[tokens.name]
        first = matrix.base + self._token // self._layout.machine.units * matrix.quads
        self._put(site, "word", first + np.arange(matrix.quads))
        self._put(site, "exponent", self._opinion.exponents(site, self._token)[:1])
        return row << GAIN_SHIFT

    def _product(self, site: Site) -> Integers:
        """Put a product's accumulators after each quad, [passes, quads, units]."""
        source = self._values[site.source][self._layout.order(self._table[site.source])]
        tiles, order = self._numbers.tiles(site), self._layout.order(site)
        products = np.einsum("puqi,qi->pqu", tiles, source.reshape(tiles.shape[2], QUAD))
        sums = np.cumsum(products, axis=1)
        self._put(site, "sum", sums)
        return self._in_order(site, sums[:, -1].ravel()[: len(order)])

    def _scores(self, site: Site) -> Integers | None:
        """Put scores' sums and maxima; return the scores, unless they have penalties."""
        c, keys = self._model.config, self._rows(self._table[site.rows])
        query, rows = self._values[site.source], len(keys)
        score = self._trace[site.key][0, 0]
        self._put(site, "maximum", ~np.maximum.accumulate(score, axis=0))
        products = np.zeros((rows, c.heads, self._layout.head_quads * QUAD), np.int64)
        own = keys.reshape(rows, c.cached_heads, c.head_width)[:, self._shared]
        products[..., : c.head_width] = query.reshape(1, c.heads, c.head_width) * own
        sums = np.cumsum(products, axis=-1)[..., QUAD - 1 :: QUAD]
        self._put(site, "sum", sums)
        return None if c.positions is Positions.ALIBI else self._opinion.score(site, sums[..., -1])

    def _softmax(self, site: Site) -> None:
        """Put the totals of numerators."""
        numerator = self._trace[site.key][0, 0]
        # Positions that pad a word add nothing.
        filling = -len(numerator) % QUAD
        totals = np.cumsum(np.pad(numerator, ((0, filling), (0, 0))), axis=0)
        self._put(site, "total", totals)
        mantissa, exponent = tables.reciprocal(totals[-1])
        self._put(site, "reciprocal", np.stack([mantissa, exponent], axis=-1))
        width = self._model.config.head_width
        self._scales[Scaling.SUM] = np.repeat(mantissa, width), np.repeat(exponent, width)

    def _mix(self, site: Site) -> Integers:
        """Put the growing sums of weighted values."""
        c, values = self._model.config, self._rows(self._table[site.rows])
        numerator, rows, order = self._values[site.source], len(values), self._layout.order(site)
        head = order // c.head_width
        own = values.reshape(rows, c.cached_heads, c.head_width)[:, self._shared[head]]
        factors = own[:, np.arange(len(head)), order % c.head_width]
        sums = np.cumsum(numerator[:, head] * factors, axis=0)
        last = np.minimum(np.arange(QUAD - 1, rows + QUAD - 1, QUAD), rows - 1)
        self._put(site, "sum", sums[last].T)
        return self._in_order(site, sums[-1])

    def _rows(self, site: Site) -> Integers:
        """Return the rows of the cache that are in use, [rows, width]."""
        return self._cache.rows[site.becomes][site.layer, 0, : self._cache.occupied]

    def _in_order(self, site: Site, drained: Integers) -> Integers:
        """Return a site's numbers in logical order, from those in the order of the drain."""
        order, found = self._layout.order(site), np.zeros(site.elements, np.int64)
        found[order[order >= 0]] = drained[order >= 0]
        return found

    def _put(self, site: Site, what: str, values: Integers) -> None:
        segment = self._numbers.segment(site, what)
        view = self.found[segment.offset : segment.offset + prod(segment.shape)]
        view.reshape(segment.shape)[tuple(slice(n) for n in values.shape)] = values

    def _agree(self, site: Site, own: Integers, golden: Integers) -> None:
        if not np.array_equal(own, golden):
            at = np.argwhere(own != golden)[0]
            raise OpinionError(
                f"layer {site.layer}, step {site.name}, element {at.tolist()}: the golden model "
                f"has {golden[tuple(at)]}, the scoreboard {own[tuple(at)]}"
            )
