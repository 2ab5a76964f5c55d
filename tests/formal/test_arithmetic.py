"""Saturation, rounding, requantising equal their definitions for all inputs.

The definitions are written independently, from the docstrings of ``model/arithmetic.py``.
"""

import pytest
from amaranth.hdl import Cat, Module, Mux, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from prove import Bench

from gptloom.hdl.arithmetic import leading_one, less, saturated
from gptloom.hdl.delay import delayed
from gptloom.hdl.folded.requantise import Requantise, ScoreQuantise
from gptloom.model.arithmetic import (
    ACTIVATION_BITS,
    LOGIT_BITS,
    PRE_SHIFT,
    SCALED_BITS,
    SCORE_SHIFT,
    WEIGHT_BITS,
)

DIGITS = 5


def clipped(value, bits):
    """Clip by comparison with the limits."""
    low, high = -(1 << bits - 1), (1 << bits - 1) - 1
    return Mux(value < low, low, Mux(value > high, high, value))


class Functions(wiring.Component):
    """The expressions, each on inputs of its own."""

    value: In(signed(20))
    small: In(signed(6))
    other: In(signed(20))
    word: In(13)
    clipped_to_8: Out(signed(8))
    clipped_to_18: Out(signed(18))
    kept: Out(signed(8))
    is_less: Out(1)
    position: Out(4)
    late: Out(13)

    def elaborate(self, platform):
        m = Module()
        m.d.comb += [
            self.clipped_to_8.eq(saturated(self.value, 8)),
            self.clipped_to_18.eq(saturated(self.value, 18)),
            self.kept.eq(saturated(self.small, 8)),
            self.is_less.eq(less(self.value, self.other)),
            self.position.eq(leading_one(m, self.word)),
            self.late.eq(delayed(m, self.word, 3)),
        ]
        return m


def test_functions(proved):
    """Saturating, comparing, finding the leading one and delaying equal their definitions."""
    bench = Bench(Functions())
    dut = bench.dut
    bench.claim("8 bits", dut.clipped_to_8 == clipped(dut.value, 8))
    bench.claim("18 bits", dut.clipped_to_18 == clipped(dut.value, 18))
    bench.claim("kept", dut.kept == dut.small)
    bench.claim("less", dut.is_less == (dut.value < dut.other))
    above, here = dut.word >> dut.position, dut.position
    bench.claim("leading one", Mux(dut.word == 0, here == 0, above == 1))
    bench.claim("delayed", dut.late == bench.before(dut.word, 3))
    bench.reach("clipped", dut.value != dut.clipped_to_8)
    bench.reach("delayed", dut.late == 77)
    proved(bench, 5)


@pytest.mark.parametrize("deep", [False, True], ids=["plain", "deep"])
def test_score(proved, deep):
    """A score is its dot product / 128, half up, clipped to 10 bits."""
    bench = Bench(ScoreQuantise(BITS, deep))
    dut = bench.dut
    i = bench.named(bench.before(dut.i, dut.latency), "i_then")
    half = 1 << SCORE_SHIFT - 1
    bench.claim(
        "score", dut.o == clipped(bench.named(i + half, "sum") >> SCORE_SHIFT, ACTIVATION_BITS)
    )
    bench.reach("clipped", dut.o == -512)
    proved(bench, dut.latency + 1, settled=dut.latency, reach=dut.latency + 2)


BITS = 24
"""Width of an accumulator here."""


class Scaling:
    """A requantiser whose product is proved in three steps, because solvers cannot multiply.

    These are digits of the mantissa, each times the scaled accumulator, and the addition: by the
    distributive law the sum is the product, which is the one step left to the reader.
    """

    def __init__(self, deep):
        self.bench = bench = Bench(Requantise(BITS, deep))
        self.deep, self.dut = int(deep), bench.dut
        self.codes = [Value.cast(bench.inside(f"digit_{n}")) for n in range(DIGITS)]
        # Digits are registered, then each selects a row.
        then = [bench.named(bench.before(code), f"code_{n}") for n, code in enumerate(self.codes)]
        self.digits = [self.digit(code, f"digit_then_{n}") for n, code in enumerate(then)]
        self.ones = [code[2] | code[:2].all() for code in then]
        rows = bench.all_inside("row")
        self.terms = [
            bench.named(row ^ code[2].replicate(len(row)), f"row_{n}", signed(len(row)))
            for n, (row, code) in enumerate(zip(rows, then, strict=True))
        ]
        bench.reach("time passes", bench.since_reset(self.dut.latency))

    def digit(self, code, name):
        """Return a digit's value."""
        low = code[:2]
        return self.bench.named(Mux(code[2], -low, Mux(low == 3, -1, low)), name, signed(3))


@pytest.mark.parametrize("deep", [False, True], ids=["plain", "deep"])
def test_requantise_digits(proved, deep):
    """The mantissa is the sum of its digits, each times a power of 4."""
    scaling = Scaling(deep)
    bench = scaling.bench
    digits = [scaling.digit(code, f"digit_now_{n}") for n, code in enumerate(scaling.codes)]
    mantissa = bench.before(scaling.dut.mantissa, scaling.deep)
    bench.claim("sum", sum(digit << 2 * n for n, digit in enumerate(digits)) == mantissa)
    for n, code in enumerate(scaling.codes):
        bench.claim(f"no fourth negative {n}", ~code.all())
    proved(bench, 2, settled=1, reach=scaling.dut.latency + 1)


@pytest.mark.parametrize("n", range(DIGITS))
@pytest.mark.parametrize("deep", [False, True], ids=["plain", "deep"])
def test_requantise_term(proved, deep, n):
    """A term and its one are a digit times the accumulator / 16, clipped to 18 bits."""
    scaling = Scaling(deep)
    bench = scaling.bench
    accumulator = bench.before(scaling.dut.i, 1 + scaling.deep)
    scaled = bench.named(
        clipped(accumulator >> PRE_SHIFT, SCALED_BITS), "scaled", signed(SCALED_BITS)
    )
    digit, term, one = scaling.digits[n], scaling.terms[n], scaling.ones[n]
    products = {-2: -(scaled << 1), -1: -scaled, 0: 0, 1: scaled, 2: scaled << 1}
    right = Cat((digit == value) & (term + one == product) for value, product in products.items())
    bench.claim("term", right.any())
    settled = 2 + scaling.deep
    proved(bench, settled + 1, settled=settled, reach=scaling.dut.latency + 1)


@pytest.mark.parametrize("deep", [False, True], ids=["plain", "deep"])
def test_requantise_sum(proved, deep):
    """The product is the sum of the terms, each times its power of 4."""
    scaling = Scaling(deep)
    bench, terms, ones = scaling.bench, scaling.terms, scaling.ones
    # Add in the hardware's order, which solvers cannot find.
    low = terms[0] + ((terms[1] << 2) + ones[0])
    high = terms[2] + ((terms[3] << 2) + ones[2])
    below = low + ((high << 4) + (ones[1] << 2))
    total = bench.named(below + ((terms[4] << 8) + (ones[3] << 6)), "total", signed(27))
    # The mantissa's sign is never set, nor is the last digit ever negative.
    settled = 4 if deep else 2
    bench.claim("sum", bench.inside("product") == bench.before(total, 3 if deep else 1))
    proved(bench, settled + 1, settled=settled, reach=scaling.dut.latency + 1)


def rounded(deep, half=1):
    """Claim the result for any product; another `half` plants a fault."""
    bench = Bench(Requantise(BITS, deep))
    dut, latency = bench.dut, bench.dut.latency
    shift, narrow, wide, relu = (
        bench.before(value, latency) for value in (dut.shift, dut.narrow, dut.wide, dut.relu)
    )
    product = bench.before(bench.inside("product"), 4 if deep else 2)
    # The port's shift is one less than the function's, which leaves one more bit: a half is 1.
    doubled = bench.named((product >> shift) + half, "doubled")
    value = bench.named(doubled >> 1, "value")
    widths = (WEIGHT_BITS, ACTIVATION_BITS, LOGIT_BITS)
    narrowest, usual, widest = (bench.named(clipped(value, bits), f"to_{bits}") for bits in widths)
    result = bench.named(Mux(wide, widest, Mux(narrow, narrowest, usual)), "result")
    bench.claim("result", dut.o == Mux(relu & (result < 0), 0, result))
    bench.reach("large", dut.o == 30000)
    return bench


@pytest.mark.parametrize("deep", [False, True], ids=["plain", "deep"])
def test_requantise_rounding(proved, deep):
    """Any product, by any shift, is rounded half up, clipped to 8, 10 or 16 bits, then ReLU."""
    bench = rounded(deep)
    proved(bench, bench.dut.latency + 1, settled=bench.dut.latency, reach=bench.dut.latency + 2)


def test_truncating_would_be_found(refuted):
    bench = rounded(False, half=0)
    refuted(bench, bench.dut.latency + 1, "result", settled=bench.dut.latency)
