"""Multipliers of carry cells multiply."""

import random

import pytest
from amaranth.hdl import signed, unsigned
from carry_cells import ModelledFabric

from gptloom.hdl.unrolled.array import ArrayMultiplier
from gptloom.hdl.unrolled.fabric import Fabric


@pytest.mark.parametrize("a", [unsigned(8), signed(8), signed(10), unsigned(7), signed(4)])
@pytest.mark.parametrize("b", [4, 5, 8, 10, 18])
@pytest.mark.parametrize("made_of", [Fabric, ModelledFabric])
def test_products(bench, a, b, made_of):
    class Multiplier(ArrayMultiplier):
        fabric = made_of

    draw, limit = random.Random(a.width), 1 << b - 1
    least = -(1 << a.width - 1) if a.signed else 0
    ends = [least, least + (1 << a.width) - 1, 0, 1]
    pairs = [(x, y) for x in ends for y in (-limit, 1 - limit, -1, 0, 1, limit - 1)]
    pairs += [
        (draw.randrange(least, ends[1] + 1), draw.randrange(-limit, limit)) for _ in range(100)
    ]
    block = bench(Multiplier(a, signed(b)))
    played = block.play([{"a": x, "b": y} for x, y in pairs], ["o"], after=2)
    assert [each["o"] for each in played[2:]] == [x * y for x, y in pairs]
