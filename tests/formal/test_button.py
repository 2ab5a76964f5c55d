"""The button: a press counts once, and only once it is stable."""

import pytest
from amaranth.hdl import Mux, Signal
from prove import Bench

from gptloom.hdl.top import Button

CYCLES = [1, 2, 120_000]  # the last are 10 ms at 12 MHz
SYNCHRONISER = 2


def rested(cycles, claimed=None):
    """Claim that a press follows `claimed` stable cycles, those of the button unless planted.

    Invariants on registers are claimed too, for induction.
    """
    claimed = cycles if claimed is None else claimed
    bench = Bench(Button(cycles))
    m, dut = bench.m, bench.dut
    level = bench.named(bench.before(dut.i, SYNCHRONISER), "level")
    # Cycles before this one in which the level was high, or low; saturating counters.
    most = max(cycles, claimed)
    high = Signal(range(most + 1))
    low = Signal(range(most + 1), init=most)
    m.d.sync += [
        high.eq(Mux(level, Mux(high == most, most, high + 1), 0)),
        low.eq(Mux(level, 0, Mux(low == most, most, low + 1))),
    ]
    pressed_before = Signal()
    with m.If(dut.pressed):
        m.d.sync += pressed_before.eq(1)
    with m.Elif(low >= claimed):
        m.d.sync += pressed_before.eq(0)
    bench.claim("rested", ~dut.pressed | (high >= claimed))
    bench.claim("once", ~dut.pressed | ~pressed_before)
    bench.claim("counted", (high < claimed) | pressed_before | dut.pressed)

    if cycles < 10:
        bench.reach("pressed", dut.pressed)
    else:
        bench.reach("waited", bench.inside("timer") == cycles - 3)

    # Invariants on internal registers.
    now, believed, timer = (bench.inside(name) for name in ("now", "believed", "timer"))
    bench.claim("now", now == level)
    bench.claim("timer", timer < cycles)
    changed = Mux(believed, low, high)
    bench.claim("waits", changed + timer == cycles - 1)
    bench.claim("believed", believed == (dut.pressed | (pressed_before & (low < claimed))))
    bench.claim("one level", (high == 0) | (low == 0))
    return bench


@pytest.mark.parametrize("cycles", CYCLES)
def test_press(proved, cycles):
    """A press counts once, after enough stable cycles, and again only after as many released."""
    proved(rested(cycles), 5, reach=10)


def test_too_short_a_rest_is_found(refuted):
    refuted(rested(4, claimed=5), 12, "rested", induction=False)
