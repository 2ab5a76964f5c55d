"""Inputs of a later layer, against the golden model's."""

import random
from functools import partial

import numpy as np
import pytest

from gptloom.hdl.multipliers import Multiplier
from gptloom.hdl.unrolled.attention import Attention
from gptloom.hdl.unrolled.enter import Enter
from gptloom.hdl.unrolled.target import SIMULATED
from gptloom.model import tables
from gptloom.model.arithmetic import round_shift, saturate
from gptloom.model.merged.integer import SCORE_BITS
from gptloom.model.merged.steps import LayerSteps, Outputs

# A refused design is never elaborated.
pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")

UNTIL_ADDED = 30


@pytest.fixture
def enter(merged):
    """Return the block, and its model."""
    model = merged("names-2l")
    dense = partial(SIMULATED.dense, bits_per_cycle=2, levels_per_register=3, outputs_per_copy=None)
    multipliers = [Multiplier] * Enter.multipliers_of(model.config)
    return model, Enter(model, 1, dense, multipliers, UNTIL_ADDED)


def golden_entry(model, product, offset, square):
    """Return the golden model's values for a bare product and a given offset."""
    found = {}

    def note(site, value):
        found[site] = value
        return value

    layer, shift = model.layers[1], model.layers[0].shifts["product"]
    given = round_shift(np.array(product), shift), np.array(offset), np.array([1]), square
    entry = LayerSteps(model.config, model.widths, layer, note).enter(Outputs(*given), 0)
    query = entry.q * entry.scale
    scores = (query * entry.k).reshape(model.config.heads, -1).sum(axis=1)
    own = saturate(round_shift(scores, layer.shifts["score"]), SCORE_BITS)
    row = dict(q=query, k=entry.k, v=entry.v, own=own, fx=entry.fx, x=entry.x, lx=entry.lx)
    return {name: value.tolist() for name, value in row.items()}, found


@pytest.mark.long
def test_enter(bench, enter):
    """Small and extreme values, one token after the other: each comes when it is due."""
    model, block = enter
    draw, bits, shifts = random.Random(1), model.bits()[0], model.layers[1].shifts
    outputs = 4 * model.config.width
    inputs, expected, seen = [], [], {}
    for number in range(60):
        # Small elements of the last part, which determines the norm, make the others large.
        sizes = [draw.choice((2, 8, 12, 16))] * (outputs * 3 // 4)
        sizes += [draw.choice((2, 4, 8, 10, 16))] * (outputs - len(sizes))
        product, offset = (
            [draw.randrange(-1 << min(most, size), 1 << min(most, size)) for size in sizes]
            for most in (bits["b"] - 1, bits["offset"] - 1)
        )
        if number == 1:
            product, offset = [0] * outputs, [0] * outputs
        if number == 2:
            product = [-(1 << bits["b"] - 1)] * outputs
        square = np.array([draw.randrange(1 << draw.randrange(1, 19))])
        mantissa, exponent = tables.rsqrt(square)
        inverse = round_shift(mantissa << shifts["inverse"], exponent)
        limit = (1 << model.widths.root) - 1
        row, found = golden_entry(model, product, offset, square)
        for site, value in found.items():
            seen.setdefault(site, []).extend(np.ravel(value).tolist())
        expected.append(row)
        inputs.append(
            dict(valid=1, product=product, offset=offset, inverse=min(int(inverse[0]), limit))
        )
        inputs += [{"valid": 0}] * draw.choice((0, 3, 4))
    # Everything saturates somewhere.
    for site, least in (("stream", -512), ("k", -128), ("v", -128), ("x", -128)):
        assert min(seen[site]) == least, site
        assert max(seen[site]) == -least - 1, site
    assert max(seen["scale"]) == 255
    played = bench(block).play(inputs, list(expected[0]), after=UNTIL_ADDED + 1)
    begins = [cycle for cycle, values in enumerate(inputs) if values["valid"]]
    due = dict.fromkeys("qkv", block.latency) | dict.fromkeys(("fx", "x", "lx"), UNTIL_ADDED)
    due["own"] = block.latency + Attention.own_waits
    for cycle, row in zip(begins, expected, strict=True):
        for name, value in row.items():
            assert played[cycle + due[name]][name] == value, (cycle, name)


@pytest.mark.long
def test_products_that_come_too_late_are_refused(merged):
    model = merged("names-2l")
    dense = partial(SIMULATED.dense, bits_per_cycle=1, levels_per_register=3, outputs_per_copy=None)
    with pytest.raises(ValueError, match="not done 12 cycles"):
        Enter(model, 1, dense, [Multiplier] * Enter.multipliers_of(model.config), 12)
