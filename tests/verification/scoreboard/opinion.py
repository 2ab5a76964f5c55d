"""A second opinion on what becomes of sums: scales, rotations and functions, computed once more.

Nothing here calls the arithmetic of the golden model, and the scale of every value is one that
:mod:`.values` hands in.
"""

import math
from collections.abc import Mapping

import numpy as np

from gptloom.model.arithmetic import Integers
from gptloom.model.integer import IntegerModel
from gptloom.model.sites import Combination, Function, Key, Kind, Scaling, Site

Scale = tuple[Integers, Integers]
"""Mantissa and exponent of every element, or of all."""

FACTOR_BITS = 18
"""Width of a sum as it is multiplied with a mantissa of nine bits."""

MOST_SHIFT = 32
"""Largest shift; nothing is left of any number by then."""

LEAST_EXPONENT = 8
"""Exponent of the least sum over numerators, one alone of 511."""


class OpinionError(Exception):
    """The golden model computes something else."""


def clipped(values: Integers, bits: int) -> Integers:
    """Return values limited to a signed number of so many bits."""
    return np.minimum(np.maximum(values, -(2 ** (bits - 1))), 2 ** (bits - 1) - 1)


def shifted(values: Integers, shift: Integers | int) -> Integers:
    """Return values over ``2**shift``, rounded half up; the shift is at least 1."""
    return ((values >> (shift - 1)) + 1) >> 1


class Opinion:
    """Computes the values of a model's sites from their sums."""

    def __init__(self, model: IntegerModel):
        self._model = model
        self._precision = model.precision

    def exponents(self, site: Site, token: int) -> Integers:
        """Return the shifts of a site's elements beside that of the site."""
        rows = self._model.row_shifts
        if site.kind is Kind.EMBEDDING and rows:
            return np.full(site.elements, rows[self._model.network.tokens.name][token])
        if site.matrix and rows:
            return rows[site.matrix.name]
        return np.zeros(site.elements, np.int64)

    def scaled(
        self, site: Site, sums: Integers, scale: Scale, token: int, shift: int | None = None
    ) -> Integers:
        """Return a site's sums after their scale.

        Parameters
        ----------
        site
            The site.
        sums
            A sum for each of its elements.
        scale
            Mantissa and exponent.
        token
            The token, whose row may have a shift of its own.
        shift
            Shift of the site, if it is not the model's.
        """
        mantissa, exponent = scale
        shift = self._model.shifts[site.key] if shift is None else shift
        dropped = self._precision.pre_shift
        if site.scale is Scaling.SUM and self._precision.exponent_first:
            dropped, exponent = exponent - LEAST_EXPONENT, LEAST_EXPONENT
        factor = clipped(sums >> dropped, FACTOR_BITS)
        total = np.minimum(shift + exponent + self.exponents(site, token), MOST_SHIFT)
        return clipped(shifted(factor * mantissa, total), site.product_bits or site.bits)

    def score(self, site: Site, sums: Integers) -> Integers:
        """Return scores from dot products of queries and keys."""
        return clipped(shifted(sums, self._precision.score_shift), site.bits)

    def value(
        self, site: Site, scaled: Integers, position: int, found: Mapping[Key, Integers]
    ) -> Integers:
        """Return a site's value after its rotation, function and combination.

        Parameters
        ----------
        site
            The site.
        scaled
            Its scaled sums.
        position
            Position of the token.
        found
            Values of earlier sites; the stream is the last of these that is one.
        """
        value = scaled
        if site.rotated:
            value = self._turned(site, value, position)
        if site.function is Function.RELU:
            value = np.where(value < 0, 0, value)
        if site.function is Function.SILU:
            value = silu(value)
        if site.combination is Combination.ADD:
            (*_, stream) = (v for k, v in found.items() if self._model.network[k].is_stream)
            value = clipped(value + stream, site.bits)
        if site.combination is Combination.MULTIPLY:
            value = clipped(shifted(value * found[site.factor], 9), site.bits)
        return value

    def turns(self, position: int) -> tuple[Integers, Integers]:
        """Return cosine and sine of every pair's angle, 11 fraction bits, by its phase of 4,096."""
        c, one = self._model.config, (1 << 11) - 1
        found = []
        for pair in range(c.head_width // 2):
            turns = c.theta ** (-2 * pair / c.head_width) / (2 * math.pi)
            phase = (position * round(turns * 2**24) + 2**11 >> 12) % 4096
            angle = phase / 2048 * math.pi
            found.append((round(one * math.cos(angle)), round(one * math.sin(angle))))
        cosine, sine = np.array(found, np.int64).T
        return cosine, sine

    def _turned(self, site: Site, value: Integers, position: int) -> Integers:
        """Return queries or keys with neighbours turned as the parts of a complex number."""
        cosine, sine = self.turns(position)
        pairs = value.reshape(-1, len(cosine), 2)
        real, imaginary = pairs[..., 0], pairs[..., 1]
        turned = np.empty_like(pairs)
        turned[..., 0] = real * cosine - imaginary * sine
        turned[..., 1] = imaginary * cosine + real * sine
        narrower = self._precision.unrotated - site.bits
        return clipped(shifted(turned.reshape(-1), 11 + narrower), site.bits)


def silu(argument: Integers) -> Integers:
    """Return the SiLU of arguments with 7 fraction bits, with 10: in steps of 1/64."""
    size = np.abs(argument) // 2
    middle = (np.minimum(size, 511) + 0.25) / 64
    below = np.rint(1024 * middle / (1 + np.exp(middle))).astype(np.int64)
    return np.where(argument > 0, 8 * argument, 0) - below
