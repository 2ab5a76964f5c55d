"""The merged integer model: tables, constant matrices, and the shift of every site.

One token, in layer 0. Every step is exact integer arithmetic; ``>> n`` rounds half up
(:func:`.arithmetic.round_shift`) and ``>>> n`` rounds down. Shifts without a number are constants
of the layer. Widths are those of the defaults of `Widths`; ``s`` is signed, ``u`` unsigned.

==============  =====  =============================================================  ==========
name            bits   value                                                          saturates
==============  =====  =============================================================  ==========
``q k v``       8 s    table at (token, position), never -128; k and v are cached, in widths
                       of their own
``x fx lx``     8 s    table at (token, position), never -128; with ALiBi at the token alone
q . k           17 s   per head, exact; 15 bits and log2(head width) more
``score``       10 s   ``(q . k >> score) - penalty``, sixteenths of an octave        yes
``maximum``     10 s   largest score of the head over the positions seen, itself too
distance        11 u   ``maximum - score``; the numerator is 0 from 128 on
``numerator``   8 u    ``EXP2_ENTRIES[distance & 15] >>> (distance >>> 4)``
``denominator`` 12 u   sum of numerators, at least 255; 8 bits and log2(context)
``weighted``    20 s   sum of numerator * v; 16 bits and log2(context)
mantissa        9 u    ``tables.reciprocal(denominator)``, 256 to 511 (top bit one)
exponent        4 u    position of the leading one of the denominator, 7 to 11
reduced         16 s   ``weighted >>> (exponent - 7)``
``mix``         8 s    a: ``reduced * mantissa >> mix``; the product has 25 bits      yes
``hidden``      8 u    u: ``max(0, (fx << fx) + (A1 a >> hidden))``                   yes
``residual``    8 s    ``(x << x) + (Wo a >> residual)``                              yes
``square``      20 u   sum of residual ** 2; 16 bits and log2(width)
``root``        8 u    S: ``(mantissa << exponent) >> root`` of ``tables.sqrt``       yes
``direct``      12 s   ``(lx << lx) + (A2 a >> direct)``                              yes
``product``     -      ``B u >> product``
``noise``       -      ``NOISE_TABLE[...] * mantissa >> shift`` of the temperature
``offset``      -      ``(direct + noise) * S >> offset``
``noisy``       -      ``product + offset``; the token is where it is largest, first
``logits``      -      ``noisy`` without noise
==============  =====  =============================================================  ==========

The golden model traces all of these by name except ``q . k`` and the distance. The mantissa (9
bits) and exponent (4 bits) of `tables.sqrt` are ``root_mantissa`` and ``root_exponent``, and
``a1``, ``wo``, ``a2`` and ``b`` are the bare products by these matrices.

The penalty is that of ALiBi, :func:`.positions.penalty` of the distance; with learned positions
there is none.

Terms from the table are added after rounding, which gives the same bits as adding them before.
Nothing saturates after ``direct``. The offset is known by the time B u is, so that only one
addition and the comparison follow it. Widths that depend on the weights are those of
`MergedModel.bits`.

A later layer has no table. Its inputs come from the product, direct, S and square of the layer
before, which has no noise and four times the width as outputs:

==============  =====  =============================================================  ==========
``stream``      10 s   ``product + (direct * S >> offset)``: parts q', k', v', x'     yes
``energy``      23 u   sum of x' ** 2; twice the stream's bits less 1, and log2(width)
``scale``       8 u    ``(mantissa << scale) >> exponent``, rsqrt(energy)             yes
``inverse``     8 u    ``(mantissa << inverse) >> exponent``, rsqrt(square)           yes
``k v``         8 s    ``k' * scale >> k`` and ``v' * scale >> v``; cached            yes
``score``       10 s   ``((q' . k) * scale >> score) - penalty``                      yes
``x``           8 s    ``x' * inverse >> x``, in units of ``residual``                yes
``fx``          -      ``F x >> fx``, in units of ``hidden``
``lx``          -      ``D x >> lx``, in units of ``direct``
==============  =====  =============================================================  ==========

All else is as in layer 0, except that x, fx and lx are added without a shift. The query waits for
no norm: its products with cached keys start from ``stream``, and ``scale`` is known by the time
they are done. x, fx and lx are computed in parallel with attention. In the trace ``f`` and ``d``
are the bare products; ``logits`` and everything that follows from noise belong to the last layer.

Logits and ``noisy`` count in units of ``logit_unit * 2**offset / S`` nats, which differ from token
to token: S is the divisor of the MLP's norm, and instead of dividing B u by it, everything else is
multiplied by it. The largest stays the largest.

The noise carries the temperature T: the largest of ``logits + T * noise`` is the largest of
``logits / T + noise``. The factor, T over the worth of a unit of ``direct``, is rounded to 9
significant bits (0.2 % of the temperature at most), and the scaled noise to that unit.
"""

import zlib
from dataclasses import dataclass, field, replace

import numpy as np

from gptloom.model.arithmetic import ACTIVATION_BITS, LOGIT_FRACTION, Integers
from gptloom.model.cache import Eviction
from gptloom.model.config import ModelConfig
from gptloom.model.errors import UserError
from gptloom.model.formats import CacheScale
from gptloom.model.integer import check_temperature, mantissa_and_shift
from gptloom.model.tables import NOISE_TABLE, exp2_entries
from gptloom.model.tokenizer import Tokenizer

NUMERATOR_BITS = 8
EXP2_ENTRIES = exp2_entries(NUMERATOR_BITS)
"""``2**-f`` for f in steps of 1/16 octave, 255 to 133: 8 bits, the top one set."""

LEAST_EXPONENT = NUMERATOR_BITS - 1
"""Least exponent of the denominator, which includes the numerator of the maximum, 255."""

SCORE_BITS = ACTIVATION_BITS

SHIFTS = (
    *("score", "mix", "fx", "hidden", "x", "residual"),
    *("root", "lx", "direct", "offset", "product"),
)
"""Constants of layer 0: right shifts, but for the left shifts of fx, x and lx."""

LATER_SHIFTS = (*SHIFTS, "scale", "k", "v", "inverse")
"""Constants of a later layer: right shifts, but for the left shifts of scale and inverse."""

STREAM_ENTRIES = ("q", "k", "v", "x")
"""Parts of a layer's output for the next layer, in the order of the elements of ``stream``."""

WEIGHT_WIDTHS = range(2, 11)
ACTIVATION_WIDTHS = range(4, 13)
CACHE_WIDTHS = range(4, 17)


@dataclass(frozen=True)
class Widths:
    """Bits of everything whose width is a choice.

    Attributes
    ----------
    weights
        Entries of A1, A2, Wo and B.
    activations
        ``mix`` (signed) and ``hidden`` (unsigned): the inputs of products by constants.
    table
        Every word of the table except keys and values.
    keys, values
        Cached keys and values, in every layer.
    cache_scale
        Parts of keys and values that share a scale.
    residual, root, direct, stream
        Sites in the tables above; x of later layers has the width of ``residual``, scale and
        inverse that of ``root``.
    product
        Width that B u fits on calibration rows; its true width, which no input exceeds, is some
        bits more. The smaller, the more of B u's last bits are left out of sums and comparison.
    """

    weights: int = 8
    activations: int = 8
    table: int = 8
    keys: int = 8
    values: int = 8
    cache_scale: CacheScale = CacheScale.ELEMENT
    residual: int = 8
    root: int = 8
    direct: int = 12
    product: int = 12
    stream: int = 10

    def __post_init__(self) -> None:
        for name, bits, allowed in (
            ("weights", self.weights, WEIGHT_WIDTHS),
            ("activations", self.activations, ACTIVATION_WIDTHS),
            ("keys", self.keys, CACHE_WIDTHS),
            ("values", self.values, CACHE_WIDTHS),
        ):
            if bits not in allowed:
                raise UserError(
                    f"{bits} bits are no width for {name}: "
                    f"choose {allowed.start} to {allowed.stop - 1}"
                )

    def of_entry(self, name: str) -> int:
        """Return the bits of one of :data:`.algebra.ENTRIES` in the table."""
        return {"k": self.keys, "v": self.values}.get(name, self.table)


@dataclass(frozen=True)
class NoiseScale:
    """Scale of the noise: ``mantissa * 2**-shift``; a mantissa of 0 is greedy decoding."""

    mantissa: int
    shift: int


@dataclass(frozen=True)
class Layer:
    """The constants of one layer.

    Attributes
    ----------
    weights
        Matrices by name: :data:`.algebra.MATRICES` in layer 0,
        :data:`.algebra.LATER_MATRICES` in a later one; row = output.
    shifts
        `SHIFTS` or `LATER_SHIFTS` by name, 0 or more.
    """

    weights: dict[str, Integers]
    shifts: dict[str, int]


@dataclass(frozen=True)
class MergedModel:
    """A network in integers.

    Attributes
    ----------
    config, tokenizer
        Shape and tokens of the float checkpoint.
    widths
        Widths of everything below.
    table
        :data:`.algebra.ENTRIES` by name, each [vocabulary, places, elements], see
        :class:`.algebra.Merged`.
    layers
        Layers from the first to the last.
    logit_unit
        Worth of one unit of ``direct`` and of the noise, in nats.
    metadata
        Measurements of :func:`.loss.measure`.
    """

    config: ModelConfig
    tokenizer: Tokenizer
    widths: Widths
    table: dict[str, Integers]
    layers: tuple[Layer, ...]
    logit_unit: float
    metadata: dict = field(default_factory=dict)

    def with_cache(self, rows: int, eviction: Eviction, sinks: int = 0) -> "MergedModel":
        """Return the model with another KV cache; its loss is yet to be measured.

        Parameters
        ----------
        rows
            Rows of the cache.
        eviction, sinks
            See :class:`.ModelConfig`.

        Raises
        ------
        UserError
            If the model's positions or the unrolled core do not allow it.
        """
        if eviction not in (Eviction.NONE, Eviction.WINDOW):
            raise UserError(
                "the unrolled core keeps rows in the order in which they come, and nothing that "
                f"--cache {eviction} would need: choose a window, or --core folded"
            )
        metadata = {k: v for k, v in self.metadata.items() if k != "integer_loss"}
        config = self.config.with_cache(rows, eviction, sinks)
        return replace(self, config=config, metadata=metadata)

    def noise_scale(self, temperature: float) -> NoiseScale:
        """Return the scale of the noise for a sampling temperature; 0 asks for greedy decoding.

        Raises
        ------
        UserError
            If the temperature is neither 0 nor within 0.1 to 2.0, or the scale is out of range.
        """
        if temperature == 0:
            return NoiseScale(0, 0)
        unit = self.logit_unit * 2.0**LOGIT_FRACTION
        return NoiseScale(*mantissa_and_shift(check_temperature(temperature) / unit))

    def checksum(self) -> int:
        """Return the CRC-32 of everything used in computation: tables, matrices, shifts."""
        arrays = [*self.table.values()]
        for layer in self.layers:
            arrays += [*layer.weights.values(), np.array([*layer.shifts.values()])]
        return zlib.crc32(b"".join(array.astype("<i2").tobytes() for array in arrays))

    def bits(self) -> tuple[dict[str, int], ...]:
        """Return the signed width of every sum and product that depends on the weights, per layer.

        ``a1``, ``wo``, ``a2`` and ``b``, in later layers also ``f`` and ``d``, bare and before
        rounding; ``product`` and ``offset``; in the last layer ``noise`` and ``offset`` at the
        highest temperature, ``noisy``, and ``logits``. No input exceeds them.
        """
        w = self.widths
        found = []
        for layer in self.layers:
            rows = {name: np.abs(value).sum(axis=1).max() for name, value in layer.weights.items()}
            largest = {name: rows[name] << (w.activations - 1) for name in ("a1", "wo", "a2")}
            largest |= {name: rows[name] << (w.residual - 1) for name in ("f", "d") if name in rows}
            largest["b"] = rows["b"] * ((1 << w.activations) - 1)
            largest["product"] = (largest["b"] >> layer.shifts["product"]) + 1
            largest["offset"] = self._largest_offset(layer, 0)
            found.append(largest)
        scale = self.noise_scale(2.0)
        noise = (int(np.abs(NOISE_TABLE).max()) * scale.mantissa >> scale.shift) + 1
        largest["logits"] = largest["product"] + largest["offset"]
        largest["noise"] = noise
        largest["offset"] = self._largest_offset(layer, noise)
        largest["noisy"] = largest["product"] + largest["offset"]
        return tuple(
            {name: int(value).bit_length() + 1 for name, value in largest.items()}
            for largest in found
        )

    def _largest_offset(self, layer: Layer, noise: int) -> int:
        terms = (1 << (self.widths.direct - 1)) + noise
        return (terms * ((1 << self.widths.root) - 1) >> layer.shifts["offset"]) + 1
