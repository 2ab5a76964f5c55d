"""Quantisation of the Llama family to a plain integer model.

Every row of a matrix has a scale of its own, a power of two. All other factors move from matrix to
matrix, where the network does not change: from keys to queries for every rotary pair, from values
to the output projection, from the gated branch to the matrix that follows. They are chosen by the
largest values that the float model shows on the checkpoint's calibration rows.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from gptloom.model.arithmetic import (
    EMBEDDING_SHIFT,
    GATE_SHIFT,
    MANTISSA_BITS,
    SCORE_FRACTION,
    SILU_FRACTION,
    SILU_RESULT_FRACTION,
)
from gptloom.model.checkpoint import Checkpoint
from gptloom.model.config import ModelConfig
from gptloom.model.errors import UserError
from gptloom.model.float_model import FloatModel
from gptloom.model.formats import Precision
from gptloom.model.integer import IntegerModel
from gptloom.model.network import network
from gptloom.model.rounding import round_for_inputs
from gptloom.model.scales import MAX_SHIFT, weight_limit
from gptloom.model.sites import Becomes, Key, Kind, Site
from gptloom.model.tokenizer import parts

Array = NDArray[np.float64]

MARGIN = 1.2
"""Largest value that has room, as a multiple of the largest one seen."""

KEY_MARGIN = 1.0
"""The same for keys, which lose most by coarse steps: those that are longer are saturated."""

MOST_ROW_SHIFT = 15
"""Largest shift of a row beside its site's: four bits."""


def quantise_llama(checkpoint: Checkpoint, precision: Precision) -> IntegerModel:
    """Quantise a checkpoint of the Llama family; its loss is yet to be measured.

    Parameters
    ----------
    checkpoint
        Its calibration rows show which values occur.
    precision
        Widths of everything.

    Raises
    ------
    UserError
        Weights or values are too large or too small for the formats.
    """
    return _Quantiser(checkpoint, precision).model()


def llama_grid(checkpoint: Checkpoint, precision: Precision) -> dict[str, Array]:
    """Return the weights by name in units of their rows' grids, before rounding."""
    quantiser = _Quantiser(checkpoint, precision)
    quantiser.model()
    return quantiser.exact


class _Peaks:
    """Largest magnitudes of every site's elements on token rows, [elements].

    Rotated pairs count by their length, which no position changes, and values that are multiplied
    by another site's also before that (`unmultiplied`). Sites that matrices multiply have second
    moments too (`moments`, [elements, elements]).
    """

    def __init__(self, model: FloatModel, rows: NDArray[np.integer]):
        self._found: dict[Key, Array] = {}
        self.unmultiplied: dict[Key, Array] = {}
        self.moments: dict[Key, Array] = {}
        read = {site.source for site in network(model.config).sites if site.matrix}
        for inputs, targets in parts(rows):
            values: dict[Key, Array] = {}
            seen = (targets >= 0)[..., None]

            def see(site: Site, value: Array, values=values, seen=seen) -> None:
                values[site.key] = value
                if site.kind in (Kind.SCORES, Kind.SOFTMAX):
                    return
                if site.rotated:
                    pairs = value.reshape(*value.shape[:2], -1, 2)
                    value = np.repeat(np.hypot(*np.moveaxis(pairs, -1, 0)), 2, axis=-1)
                if site.factor:
                    raw = values[site.source] @ model.weights[site.matrix.name].T
                    _raise(self.unmultiplied, site.key, np.where(seen, raw, 0))
                _raise(self._found, site.key, np.where(seen, value, 0))

            model.logits(inputs, see)
            for key in read:
                factors = values[key][targets >= 0].reshape(-1, self[key].size)
                self.moments[key] = self.moments.get(key, 0) + factors.T @ factors

    def __getitem__(self, key: Key) -> Array:
        """Return the largest magnitudes of a site's elements."""
        return self._found[key]


def _raise(peaks: dict[Key, Array], key: Key, values: Array) -> None:
    largest = np.maximum(np.abs(values).max(axis=(0, 1)), _SMALLEST)
    peaks[key] = np.maximum(peaks.get(key, largest), largest)


_SMALLEST = 1e-3
"""Replaces smaller peaks, including those of zeros."""


class _Quantiser:
    """Chooses the scale of every site in the order of computation.

    Attributes
    ----------
    scales
        Integer that stands for one, for each of a site's elements.
    exact
        Integers of the weights by name, before they are rounded.
    """

    def __init__(self, checkpoint: Checkpoint, precision: Precision):
        self.checkpoint, self.precision = checkpoint, precision
        self.config: ModelConfig = checkpoint.config
        self.network = network(self.config, precision)
        exact = FloatModel(self.config, checkpoint.weights)
        self.weights: Mapping[str, Array] = exact.weights
        self.peaks = _Peaks(exact, checkpoint.calibration)
        self.scales: dict[Key, Array] = {}
        self.shifts: dict[Key, int] = {}
        self.exact: dict[str, Array] = {}
        self.integers: dict[str, NDArray[np.int64]] = {}
        self.row_shifts: dict[str, NDArray[np.int64]] = {}

    def model(self) -> IntegerModel:
        """Return the integer model."""
        stream = max(self.peaks[site.key].max() for site in self.network.sites if site.is_stream)
        self._stream = 2.0 ** np.floor(np.log2(_room(self.precision.stream) / stream))
        *sites, head = self.network.sites
        for site in sites:
            match site.kind:
                case Kind.EMBEDDING:
                    self._embed(site)
                case Kind.NORM:
                    self._norm(site)
                case Kind.PRODUCT:
                    self._product(site)
                case Kind.MIX:
                    self._mix(site)
        unit = self._head(head)
        return IntegerModel(
            config=self.config,
            tokenizer=self.checkpoint.tokenizer,
            weights=self.integers,
            shifts=self.shifts,
            logit_unit=unit,
            precision=self.precision,
            row_shifts=self.row_shifts,
        )

    def _embed(self, site: Site) -> None:
        self.scales[site.key] = np.full(site.elements, self._stream)
        tensor = self.network.tokens.name
        # An integer of the table passes a norm's constant gain before it is shifted.
        table = self.weights[tensor] * self._stream / (1 << EMBEDDING_SHIFT)
        self._round(site, tensor, table)

    def _norm(self, site: Site) -> None:
        """Give a norm the least shift: its values are at most one over the stream's length."""
        gain = np.full(site.elements, float(1 << EMBEDDING_SHIFT))
        if site.gain:
            limit = weight_limit(self.precision.weights)
            ratio = self.weights[site.gain.name][0]
            unit = limit / np.abs(ratio).max()
            self.exact[site.gain.name] = exact = (ratio * unit)[None]
            self.integers[site.gain.name] = np.rint(exact).astype(np.int64)
            gain = np.full(site.elements, unit)
        # A stream over its length, times 2**(MANTISSA_BITS - shift) and the gain.
        one = 2.0 ** (MANTISSA_BITS - self.precision.pre_shift) / np.sqrt(self.config.width) * gain
        shift = int(np.ceil(np.log2((self.peaks[site.key] * one).max() / _room(site.bits))))
        self.shifts[site.key] = max(1, shift)
        self.scales[site.key] = one * 2.0 ** -self.shifts[site.key]

    def _product(self, site: Site) -> None:
        self.scales[site.key], wanted = self._wanted(site)
        matrix = self.weights[site.matrix.name]
        effective = matrix * wanted[:, None] / self.scales[site.source][None, :]
        self._round(site, site.matrix.name, effective)

    def _wanted(self, site: Site) -> tuple[Array, Array]:
        """Return the scales of a product's site, and those of its sums before post-operations."""
        peak = self.peaks[site.key]
        if site.is_stream:
            scale = np.full(site.elements, self._stream)
        elif site.rotated:
            return self._rotated(site)
        elif site.becomes is Becomes.VALUE:
            scale = _room(site.bits) / peak
        elif site.factor:
            before = _room(site.scaled_bits) / self.peaks.unmultiplied[site.key]
            gate = 2.0 ** (SILU_RESULT_FRACTION - GATE_SHIFT)
            scale = np.minimum(before * gate, _room(site.bits) / peak)
            return scale, scale / gate
        else:
            return (
                np.full(site.elements, 2.0**SILU_RESULT_FRACTION),
                np.full(site.elements, 2.0**SILU_FRACTION),
            )
        return scale, scale

    def _rotated(self, site: Site) -> tuple[Array, Array]:
        """Return the scales of queries or keys, whose products with one another have a fixed one.

        Keys get all the bits they have, queries the rest.
        """
        key = site if site.becomes is Becomes.KEY else self.network[site.layer, "k"]
        scale = _room(key.bits, KEY_MARGIN) / self.peaks[key.key]
        if site is not key:
            octaves = np.log2(np.e) / np.sqrt(self.config.head_width)
            unit = octaves * 2.0 ** (SCORE_FRACTION + self.precision.score_shift)
            scale = unit / self._for_all_heads(scale)
        return scale, scale * 2.0 ** (site.scaled_bits - site.bits)

    def _mix(self, site: Site) -> None:
        finer = site.bits - self.network[site.rows].bits
        self.shifts[site.key] = MANTISSA_BITS - finer
        self.scales[site.key] = self._for_all_heads(self.scales[site.rows]) * 2.0**finer

    def _for_all_heads(self, cached: Array) -> Array:
        """Return the elements of a cached row, repeated for all heads that share them."""
        heads, kept = self.config.heads, self.config.cached_heads
        return np.repeat(cached.reshape(kept, -1), heads // kept, axis=0).ravel()

    def _head(self, head: Site) -> float:
        """Round the matrix of the logits, unless it is the embedding; return a logit's unit."""
        scale = self.scales[head.source]
        name = head.matrix.name
        if name == self.network.tokens.name:
            embedding = self.network.embedding
            unit = self._stream * 2.0 ** (self.shifts[embedding.key] - self._unit_shift)
            unit /= 1 << EMBEDDING_SHIFT
            return 1 / (unit * scale[0])
        effective = self.weights[name] / scale[None, :]
        exponents = self._exponents(effective)
        least = int(exponents.min())
        self._to_grid(head, name, effective, exponents, least)
        return 2.0**-least

    @property
    def _unit_shift(self) -> int:
        """Shift at which a product with the mantissa that stands for one keeps its value."""
        return MANTISSA_BITS - 1 - self.precision.pre_shift

    def _round(self, site: Site, name: str, effective: Array) -> None:
        """Round a matrix, whose rows turn integers of the source into those of the site."""
        exponents = self._exponents(effective)
        # Finer grids would need larger shifts than there are, for values that hardly matter.
        shift = min(MAX_SHIFT, int(exponents.min()) + self._unit_shift)
        if shift < 1:
            raise UserError(
                f"The weights that the site {site.label} is computed with are too large for the "
                "values around it: this checkpoint cannot be quantised, train it anew"
            )
        self.shifts[site.key] = shift
        self._to_grid(site, name, effective, exponents, shift - self._unit_shift)

    def _exponents(self, effective: Array) -> NDArray[np.int64]:
        """Return the exponent of the largest power of two with which each row's weights fit."""
        room = weight_limit(self.precision.weights) + 0.5
        peaks = np.maximum(np.abs(effective).max(axis=1), 1e-12)
        return np.floor(np.log2(room / peaks)).astype(np.int64)

    def _to_grid(
        self, site: Site, name: str, effective: Array, exponents: NDArray[np.int64], base: int
    ) -> None:
        """Round a matrix to powers of two of its own for each row, from that of `base` on.

        Rows of an embedding are read, not multiplied: their elements are rounded one by one.
        """
        self.row_shifts[name] = np.clip(exponents - base, 0, MOST_ROW_SHIFT)
        grid = 2.0 ** (base + self.row_shifts[name])
        self.exact[name] = exact = effective * grid[:, None]
        if site.kind is Kind.EMBEDDING:
            self.integers[name] = np.floor(exact + 0.5).astype(np.int64)
            return
        scale = self.scales[site.source]
        moments = self.peaks.moments[site.source] * np.outer(scale, scale)
        limit = weight_limit(self.precision.weights)
        self.integers[name] = round_for_inputs(exact, moments, limit)


def _room(bits: int, margin: float = MARGIN) -> float:
    """Return the integer that the largest value seen becomes."""
    return ((1 << bits - 1) - 1) / margin
