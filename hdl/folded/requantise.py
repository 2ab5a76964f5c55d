"""Requantising: a dot product becomes an activation."""

from amaranth.hdl import Module, Mux, Signal, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gptloom.hdl.arithmetic import narrowed, saturated
from gptloom.hdl.folded.layouts import EXPONENT_BITS
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
        mantissa = Signal.like(self.mantissa)
        m.d.sync += [
            scaled.eq(saturated(self.i[PRE_SHIFT:].as_signed(), SCALED_BITS)),
            mantissa.eq(self.mantissa),
        ]
        product = Signal(signed(SCALED_BITS + MANTISSA_BITS))
        m.d.sync += product.eq(scaled * mantissa)

        # The bit below the result is kept: adding it rounds half up.
        doubled = Signal(signed(len(product)))
        m.d.sync += doubled.eq(product >> self._delayed(m, self.shift, 2))

        rounded = Signal(signed(len(product)))
        narrow, wide, relu = (
            self._delayed(m, flag, 3) for flag in (self.narrow, self.wide, self.relu)
        )
        result = Signal(signed(LOGIT_BITS))
        m.d.comb += [
            rounded.eq((doubled + 1) >> 1),
            result.eq(
                Mux(
                    wide,
                    saturated(rounded, LOGIT_BITS),
                    Mux(
                        narrow, saturated(rounded, WEIGHT_BITS), saturated(rounded, ACTIVATION_BITS)
                    ),
                )
            ),
        ]
        m.d.sync += self.o.eq(Mux(relu & (rounded < 0), 0, result))
        return m

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
