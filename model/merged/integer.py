"""The merged integer model: tables, constant matrices, and the shift of every site.

One token, for one layer. Every step is exact integer arithmetic; ``>> n`` rounds half up
(:func:`.arithmetic.round_shift`) and ``>>> n`` rounds down. Shifts without a number are constants
of the model. Widths are those of the defaults of `Widths`; ``s`` is signed, ``u`` unsigned.

==============  =====  =============================================================  ==========
name            bits   value                                                          saturates
==============  =====  =============================================================  ==========
``q k v``       8 s    table at (token, position), never -128; k and v are cached
``x fx lx``     8 s    table at (token, position), never -128
q . k           17 s   per head, exact; 15 bits and log2(head width) more
``score``       10 s   ``q . k >> score``, sixteenths of an octave                    yes
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
``noise``       -      ``NOISE_TABLE[...] * mantissa >> shift`` of the temperature
``offset``      -      ``(direct + noise) * S >> offset``
``product``     -      ``B u >> product``
``noisy``       -      ``product + offset``; the token is where it is largest, first
``logits``      -      ``noisy`` without noise
==============  =====  =============================================================  ==========

The golden model traces all of these by name except ``q . k`` and the distance. The mantissa (9
bits) and exponent (4 bits) of `tables.sqrt` are ``root_mantissa`` and ``root_exponent``, and
``a1``, ``wo``, ``a2`` and ``b`` are the bare products by these matrices.

What is added from the table is added after rounding, which gives the same bits as before it.
Nothing saturates after ``direct``. The offset is known beside B u, so that one addition and the
comparison remain behind it. The widths of what depends on weights are those of
`MergedModel.bits`.

Logits and ``noisy`` count in units of ``logit_unit * 2**offset / S`` nats, which differ from token
to token: S is the divisor of the MLP's norm, and instead of B u being divided by it, everything
else is multiplied. The largest stays the largest.

The noise carries the temperature T: the largest of ``logits + T * noise`` is the largest of
``logits / T + noise``. The factor, T over the worth of a unit of ``direct``, is rounded to 9
significant bits (0.2 % of the temperature at most), and the scaled noise to that unit.
"""

from dataclasses import dataclass, field

import numpy as np

from gptloom.model.arithmetic import ACTIVATION_BITS, LOGIT_FRACTION, Integers
from gptloom.model.config import ModelConfig
from gptloom.model.errors import UserError
from gptloom.model.integer import check_temperature, mantissa_and_shift
from gptloom.model.tables import NOISE_TABLE, exp2_entries
from gptloom.model.tokenizer import Tokenizer

NUMERATOR_BITS = 8
EXP2_ENTRIES = exp2_entries(NUMERATOR_BITS)
"""``2**-f`` for f in steps of 1/16 octave, 255 to 133: 8 bits, of which the first is one."""

LEAST_EXPONENT = NUMERATOR_BITS - 1
"""Of the denominator, which holds the numerator of the maximum, 255."""

SCORE_BITS = ACTIVATION_BITS

SHIFTS = (
    *("score", "mix", "fx", "hidden", "x", "residual"),
    *("root", "lx", "direct", "offset", "product"),
)
"""Constants of a model: right shifts, but for the left shifts of fx, x and lx."""

WEIGHT_WIDTHS = range(2, 11)
ACTIVATION_WIDTHS = range(4, 13)


@dataclass(frozen=True)
class Widths:
    """Bits of everything whose width is a choice.

    Attributes
    ----------
    weights
        Entries of A1, A2, Wo and B.
    activations
        ``mix`` (signed) and ``hidden`` (unsigned): what enters products by constants.
    table
        Every word of the table, keys and values with it.
    residual, root, direct
        As in the table above.
    product
        What B u fits on calibration rows; no input exceeds its true width, which is some bits
        more. The fewer, the more of its last bits are left out of sums and comparison.
    """

    weights: int = 8
    activations: int = 8
    table: int = 8
    residual: int = 8
    root: int = 8
    direct: int = 12
    product: int = 12

    def __post_init__(self) -> None:
        for name, bits, allowed in (
            ("weights", self.weights, WEIGHT_WIDTHS),
            ("activations", self.activations, ACTIVATION_WIDTHS),
        ):
            if bits not in allowed:
                raise UserError(
                    f"{bits} bits are no width for {name}: "
                    f"choose {allowed.start} to {allowed.stop - 1}"
                )


@dataclass(frozen=True)
class NoiseScale:
    """What noise is multiplied with: ``mantissa * 2**-shift``; a mantissa of 0 is greedy."""

    mantissa: int
    shift: int


@dataclass(frozen=True)
class MergedModel:
    """A network of one layer in integers.

    Attributes
    ----------
    config, tokenizer
        As the float checkpoint has them.
    widths
        Of everything below.
    table
        :data:`.algebra.ENTRIES` by name, each [vocabulary, context, elements].
    weights
        :data:`.algebra.MATRICES` by name, row = output.
    shifts
        `SHIFTS` by name, 0 or more.
    logit_unit
        What one unit of ``direct`` and of the noise is worth, in nats.
    metadata
        What :func:`.loss.measure` says of it.
    """

    config: ModelConfig
    tokenizer: Tokenizer
    widths: Widths
    table: dict[str, Integers]
    weights: dict[str, Integers]
    shifts: dict[str, int]
    logit_unit: float
    metadata: dict = field(default_factory=dict)

    def noise_scale(self, temperature: float) -> NoiseScale:
        """Scale of the noise for a sampling temperature; 0 asks for greedy decoding.

        Raises
        ------
        UserError
            If the temperature is neither 0 nor within 0.1 to 2.0, or the scale is out of range.
        """
        if temperature == 0:
            return NoiseScale(0, 0)
        unit = self.logit_unit * 2.0**LOGIT_FRACTION
        return NoiseScale(*mantissa_and_shift(check_temperature(temperature) / unit))

    def bits(self) -> dict[str, int]:
        """Width of every sum and product that depends on the weights, signed.

        ``a1``, ``wo``, ``a2`` and ``b``, bare and before rounding; ``product``; ``noise`` and
        ``offset`` at the highest temperature; ``noisy``, and ``logits``. No input exceeds them.
        """
        w = self.widths
        rows = {name: np.abs(matrix).sum(axis=1).max() for name, matrix in self.weights.items()}
        largest = {name: rows[name] << (w.activations - 1) for name in ("a1", "wo", "a2")}
        largest["b"] = rows["b"] * ((1 << w.activations) - 1)
        product = largest["product"] = (largest["b"] >> self.shifts["product"]) + 1
        scale, noise = self.noise_scale(2.0), int(np.abs(NOISE_TABLE).max())
        noise = largest["noise"] = (noise * scale.mantissa >> scale.shift) + 1

        def offset(terms: int) -> int:
            return (terms * ((1 << w.root) - 1) >> self.shifts["offset"]) + 1

        direct = 1 << (w.direct - 1)
        largest["offset"] = offset(direct + noise)
        largest["noisy"] = product + largest["offset"]
        largest["logits"] = product + offset(direct)
        return {name: int(value).bit_length() + 1 for name, value in largest.items()}
