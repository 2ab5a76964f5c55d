"""Requantising: a dot product becomes an activation."""

from functools import reduce
from itertools import pairwise

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gptloom.hdl.arithmetic import narrowed, saturated
from gptloom.hdl.attributes import LOADED
from gptloom.hdl.delay import delayed, late
from gptloom.hdl.folded.layouts import EXPONENT_BITS
from gptloom.hdl.multipliers import Partial, recoded
from gptloom.model.arithmetic import (
    ACTIVATION_BITS,
    LOGIT_BITS,
    MANTISSA_BITS,
    PRE_SHIFT,
    SCALED_BITS,
    SCORE_SHIFT,
)
from gptloom.model.formats import STANDARD

CACHED = STANDARD.cache.widths[:1]
"""Width of keys and values, as they usually are."""


class Requantise(wiring.Component):
    """Equals :func:`gptloom.model.arithmetic.requantise`, then an optional ReLU.

    Attributes
    ----------
    latency
        4 cycles, or 9 of half the length with `deep`; a new value every cycle.
    widths
        Widths of results that are no activations.
    i : In
        Accumulator, of `bits` bits.
    mantissa, shift : In
        Scale; `shift` is one less than the function's, 0 to 31.
    narrow, wide : In
        Result of one of the `widths`, one bit for each, or of ``LOGIT_BITS`` instead of the
        `usual` width.
    relu : In(1)
        Negative results become 0.
    o : Out
        Result, sign-extended.
    """

    def __init__(
        self,
        bits: int,
        deep: bool = False,
        widths: tuple[int, ...] = CACHED,
        usual: int = ACTIVATION_BITS,
        pre_shift: int = PRE_SHIFT,
    ):
        self._deep, self.widths, self._usual, self._pre_shift = int(deep), widths, usual, pre_shift
        self.latency = self.latency_of(deep)
        super().__init__(
            {
                "i": In(signed(bits)),
                "mantissa": In(MANTISSA_BITS),
                "shift": In(EXPONENT_BITS),
                "narrow": In(len(widths)),
                "wide": In(1),
                "relu": In(1),
                "o": Out(signed(LOGIT_BITS)),
            }
        )

    @staticmethod
    def latency_of(deep: bool) -> int:
        """Return the latency."""
        return 9 if deep else 4

    def elaborate(self, platform):
        m = Module()
        deep = self._deep
        i, mantissa = late(m, self.i, deep), late(m, self.mantissa, deep)
        # The factor is recoded while the accumulator saturates, for a short path in each cycle.
        factor = recoded(m, Cat(mantissa, Const(0, 1)))
        digits = [delayed(m, digit) for digit in factor]
        scaled = late(m, saturated(i[self._pre_shift :].as_signed(), SCALED_BITS))

        rows = [Partial.of(m, scaled, digit) for digit in digits]
        parts = [rows[0].join(m, rows[1]), rows[2].join(m, rows[3]), rows[4]]
        if deep:
            low, middle, high = (part.registered(m) for part in parts)
            parts = [low.join(m, middle).registered(m), high.registered(m)]
        product = Signal(signed(SCALED_BITS + MANTISSA_BITS), **LOADED)
        m.d.sync += product.eq(reduce(lambda low, high: low.join(m, high), parts).value)

        # The bit below the result is kept: adding it rounds half up.
        shift = late(m, self.shift, 2 + 3 * deep)
        doubled = Signal(signed(len(product)), **LOADED)
        if deep:
            fine = EXPONENT_BITS // 2
            coarse = Signal.like(product)
            m.d.sync += coarse.eq(product >> (shift[fine:] << fine))
            m.d.sync += doubled.eq(coarse >> late(m, shift[:fine]))
        else:
            m.d.sync += doubled.eq(product >> shift)
        m.d.sync += self.o.eq(self._rounded(m, doubled))
        return m

    def _rounded(self, m: Module, doubled: Signal) -> Value:
        """Half of a value, half up, saturated: whether it fits is seen while it is incremented."""
        deep, sign = self._deep, doubled[-1]
        most = self._most(m)
        # Bits from the sign of the result's width on have to be equal.
        above, below = [], [doubled[: min(most)].all()]
        for (width, holds), end in zip(most.items(), [*list(most)[1:], len(doubled)], strict=True):
            section = doubled[width:end]
            above.append(holds & (section ^ sign.replicate(len(section))).any())
            below.append(holds | section.all())
        rounded = Signal(signed(LOGIT_BITS))
        m.d.comb += rounded.eq(doubled[1 : LOGIT_BITS + 1].as_signed() + doubled[0])
        clear = sign & late(m, self.relu, self.latency - 1 - deep)
        exceeds, full = Cat(above).any(), Cat(below).all()
        *narrower, _ = most.values()
        rounded, sign, clear, exceeds, full, *narrower = (
            late(m, part, deep) for part in (rounded, sign, clear, exceeds, full, *narrower)
        )
        # The largest value and a half would round out of range.
        fits = ~exceeds & (sign | ~full)
        limit, signs = [], [Const(0, 1), *narrower, Const(1, 1)]
        for is_sign, (at, end) in zip(signs, pairwise([1, *most, LOGIT_BITS + 1]), strict=True):
            limit.append((~clear & ~(sign ^ is_sign)).replicate(end - at))
        return Mux(fits & ~clear, rounded, Cat(limit).as_signed())

    def _most(self, m: Module) -> dict[int, Value]:
        """Return by width whether results have that width or less; all have one of them."""
        chosen = dict.fromkeys(sorted({*self.widths, self._usual}), Const(0, 1))
        for flag, width in zip(self.narrow, self.widths, strict=True):
            chosen[width] |= flag & ~self.wide
        chosen[self._usual] |= ~(self.narrow.any() | self.wide)
        found, some = {}, Const(0, 1)
        for width, flag in chosen.items():
            some |= flag
            found[width] = late(m, some, self.latency - 1 - self._deep)
        return found | {LOGIT_BITS: Const(1, 1)}


class ScoreQuantise(wiring.Component):
    """Equals :func:`gptloom.model.arithmetic.quantise_score`.

    Attributes
    ----------
    latency
        1 cycle, or 2 of half the length with `deep`.
    """

    def __init__(
        self,
        bits: int,
        deep: bool = False,
        shift: int = SCORE_SHIFT,
        score_bits: int = ACTIVATION_BITS,
    ):
        self.latency = 1 + int(deep)
        self._shift = shift
        super().__init__({"i": In(signed(bits)), "o": Out(signed(score_bits))})

    def elaborate(self, platform):
        m = Module()
        rounded = Signal(signed(len(self.i) - self._shift + 2))
        doubled = self.i[self._shift - 1 :].as_signed()
        m.d.comb += rounded.eq((doubled + 1) >> 1)
        rounded = late(m, rounded, self.latency - 1)
        bits = len(self.o)
        m.d.sync += self.o.eq(narrowed(saturated(rounded, bits), bits))
        return m
