"""Integer expressions in hardware equal those of the model."""

import random

import numpy as np
import pytest
from amaranth.hdl import Module, Shape, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gptloom.hdl.arithmetic import leading_one, less, narrowed, saturated
from gptloom.model import arithmetic


class Clip(wiring.Component):
    def __init__(self, width, bits):
        self.bits = bits
        super().__init__({"i": In(signed(width)), "o": Out(signed(max(width, bits) + 2))})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.o.eq(saturated(self.i, self.bits))
        return m


class Narrow(wiring.Component):
    i: In(signed(12))
    o: Out(signed(12))

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.o.eq(narrowed(self.i, 5))
        return m


class Leading(wiring.Component):
    def __init__(self, width):
        super().__init__({"i": In(width), "o": Out(8)})

    def elaborate(self, platform):
        m = Module()
        value = Signal.like(self.i)
        m.d.comb += [value.eq(self.i), self.o.eq(leading_one(m, value))]
        return m


class Less(wiring.Component):
    def __init__(self, shape, other):
        super().__init__({"i": In(shape), "other": In(other), "o": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.o.eq(less(self.i, self.other))
        return m


def answers(block, values):
    found = []
    for value in values:
        block.set(i=value)
        found.append(block.get("o"))
    return found


# A result may be as wide as its source, or wider; then nothing is clipped.
@pytest.mark.parametrize(
    ("width", "bits"), [(8, 2), (8, 5), (8, 7), (8, 8), (6, 8), (9, 8), (3, 2), (2, 2)]
)
def test_saturated_is_saturate_for_every_value(bench, width, bits):
    values = range(-(1 << (width - 1)), 1 << (width - 1))
    found = answers(bench(Clip(width, bits)), values)
    assert found == arithmetic.saturate(values, bits).tolist()


@pytest.mark.parametrize(("width", "bits"), [(27, 16), (27, 10), (27, 8), (20, 18)])
def test_saturated_is_saturate_for_wide_values(bench, width, bits):
    draw = random.Random(width * 100 + bits)
    edge, top = 1 << (bits - 1), 1 << (width - 1)
    values = [-top, top - 1, -edge - 1, -edge, -edge + 1, edge - 2, edge - 1, edge, -1, 0, 1]
    values += [draw.randrange(-top, top) for _ in range(200)]
    values += [draw.randrange(-2 * edge, 2 * edge) for _ in range(200)]
    assert answers(bench(Clip(width, bits)), values) == arithmetic.saturate(values, bits).tolist()


def test_narrowed_wraps_like_twos_complement(bench):
    values = np.arange(-2048, 2048)
    assert answers(bench(Narrow()), values) == ((values + 16) % 32 - 16).tolist()


@pytest.mark.parametrize("width", [1, 2, 9])
def test_leading_one_of_every_value(bench, width):
    values = range(1 << width)
    expected = [max(value.bit_length() - 1, 0) for value in values]
    assert answers(bench(Leading(width)), values) == expected


def test_leading_one_of_wide_values(bench):
    values = [bits for i in range(23) for bits in (1 << i, (1 << i) + (1 << i) // 3, (2 << i) - 1)]
    expected = [value.bit_length() - 1 for value in values]
    assert answers(bench(Leading(23)), values) == expected


@pytest.mark.parametrize(
    ("shape", "other"), [(signed(4), signed(4)), (4, 4), (signed(3), 5), (5, signed(2)), (1, 1)]
)
def test_less_is_less_for_every_pair(bench, shape, other):
    def values(shape):
        shape = Shape.cast(shape)
        low = -(1 << (shape.width - 1)) if shape.signed else 0
        return range(low, low + (1 << shape.width))

    block = bench(Less(shape, other))
    for b in values(other):
        block.set(other=b)
        assert answers(block, values(shape)) == [int(a < b) for a in values(shape)]
