"""Multipliers of carry cells multiply."""

import random

import pytest
from amaranth.hdl import signed, unsigned
from carry_cells import ModelledFabric

from gptloom.hdl.unrolled.array import ArrayMultiplier
from gptloom.hdl.unrolled.fabric import Fabric


@pytest.mark.parametrize("a", [unsigned(8), signed(8), signed(10), unsigned(7), signed(4)])
@pytest.mark.parametrize("made_of", [Fabric, ModelledFabric])
def test_products(bench, a, made_of):
    class Multiplier(ArrayMultiplier):
        fabric = made_of

    b, draw = signed(8), random.Random(a.width)
    least = -(1 << a.width - 1) if a.signed else 0
    ends = [least, least + (1 << a.width) - 1, 0, 1]
    pairs = [(x, y) for x in ends for y in (-128, -127, -1, 0, 1, 127)]
    pairs += [(draw.randrange(least, ends[1] + 1), draw.randrange(-128, 128)) for _ in range(400)]
    block = bench(Multiplier(a, b))
    played = block.play([{"a": x, "b": y} for x, y in pairs], ["o"], after=2)
    assert [each["o"] for each in played[2:]] == [x * y for x, y in pairs]
