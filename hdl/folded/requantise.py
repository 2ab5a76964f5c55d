"""Requantising: a dot product becomes an activation."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gptloom.hdl.arithmetic import narrowed, saturated
from gptloom.hdl.folded.layouts import EXPONENT_BITS
from gptloom.hdl.multipliers import Partial, recoded
from gptloom.model.arithmetic import (
    ACCUMULATOR_BITS,
    ACTIVATION_BITS,
    LOGIT_BITS,
    MANTISSA_BITS,
    PRE_SHIFT,
    SCALED_BITS,
    SCORE_SHIFT,
    WEIGHT_BITS,
)


class Requantise(wiring.Component):
    """Equals :func:`gptloom.model.arithmetic.requantise`, then an optional ReLU.

    Attributes
    ----------
    latency
        4 cycles, a new value every cycle.
    i : In
        Accumulator.
    mantissa, shift : In
        Scale; `shift` is one less than the function's, 0 to 31.
    narrow, wide : In(1)
        Result of ``WEIGHT_BITS`` or ``LOGIT_BITS`` instead of ``ACTIVATION_BITS``.
    relu : In(1)
        Negative results become 0.
    o : Out
        Result, sign-extended.
    """

    latency = 4

    def __init__(self):
        super().__init__(
            {
                "i": In(signed(ACCUMULATOR_BITS)),
                "mantissa": In(MANTISSA_BITS),
                "shift": In(EXPONENT_BITS),
                "narrow": In(1),
                "wide": In(1),
                "relu": In(1),
                "o": Out(signed(LOGIT_BITS)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        scaled = Signal(signed(SCALED_BITS))
        # The factor is recoded while the accumulator saturates, for a short path in each cycle.
        factor = recoded(m, Cat(self.mantissa, Const(0, 1)))
        digits = [Signal.like(digit, name=f"registered_{i}") for i, digit in enumerate(factor)]
        m.d.sync += scaled.eq(saturated(self.i[PRE_SHIFT:].as_signed(), SCALED_BITS))
        m.d.sync += [digit.eq(now) for digit, now in zip(digits, factor, strict=True)]

        rows = [Partial.of(m, scaled, digit) for digit in digits]
        whole = rows[0].join(rows[1]).join(rows[2].join(rows[3])).join(rows[4])
        product = Signal(signed(SCALED_BITS + MANTISSA_BITS))
        m.d.sync += product.eq(whole.value)

        # The bit below the result is kept: adding it rounds half up.
        doubled = Signal(signed(len(product)))
        m.d.sync += doubled.eq(product >> self._delayed(m, self.shift, 2))
        m.d.sync += self.o.eq(self._rounded(m, doubled))
        return m

    def _rounded(self, m: Module, doubled: Signal) -> Value:
        """Half of a value, half up, saturated: whether it fits is seen while it is incremented."""
        narrow, wide, relu = (
            self._delayed(m, flag, 3) for flag in (self.narrow, self.wide, self.relu)
        )
        negative = doubled[-1]
        rounded, result = Signal(signed(LOGIT_BITS)), Signal(signed(LOGIT_BITS))
        m.d.comb += rounded.eq(doubled[1 : LOGIT_BITS + 1].as_signed() + doubled[0])

        def choose(bits: int) -> None:
            above = doubled[bits:]
            # The largest value and a half would round out of range.
            fits = above.all() | ~(above.any() | doubled[:bits].all())
            limit = Value.cast((1 << (bits - 1)) - 1) ^ negative.replicate(bits)
            m.d.comb += result.eq(Mux(fits, rounded, limit.as_signed()))

        with m.If(wide):
            choose(LOGIT_BITS)
        with m.Elif(narrow):
            choose(WEIGHT_BITS)
        with m.Else():
            choose(ACTIVATION_BITS)
        return Mux(relu & negative, 0, result)

    @staticmethod
    def _delayed(m: Module, signal, cycles: int) -> Signal:
        for _ in range(cycles):
            following = Signal(unsigned(len(signal)))
            m.d.sync += following.eq(signal)
            signal = following
        return signal


class ScoreQuantise(wiring.Component):
    """Equals :func:`gptloom.model.arithmetic.quantise_score`.

    Attributes
    ----------
    latency
        1 cycle.
    """

    latency = 1

    def __init__(self):
        super().__init__({"i": In(signed(ACCUMULATOR_BITS)), "o": Out(signed(ACTIVATION_BITS))})

    def elaborate(self, platform):
        m = Module()
        rounded = Signal(signed(ACCUMULATOR_BITS - SCORE_SHIFT + 2))
        doubled = self.i[SCORE_SHIFT - 1 :].as_signed()
        m.d.comb += rounded.eq((doubled + 1) >> 1)
        m.d.sync += self.o.eq(narrowed(saturated(rounded, ACTIVATION_BITS), ACTIVATION_BITS))
        return m
