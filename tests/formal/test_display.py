"""Displays' pins always meet the datasheets' minimum times.

The proofs say in which cycles of a slot, or of a bit, each pin may change; times are sums of these.
"""

from fractions import Fraction
from math import ceil

import pytest
from amaranth.hdl import Cat, Mux, Signal
from prove import Bench

from gptloom.hdl.display.hd44780 import HD44780
from gptloom.hdl.display.spi import Serialiser
from gptloom.hdl.display.text import TEXT_LATENCY

# From Hitachi's HD44780U datasheet, in nanoseconds: bus timing at 2.7 to 4.5 V, and any instruction
# but clear and home at the typical clock of 270 kHz.
PWEH, TCYCE, TAS, TAH, TDSW, TH, EXECUTION = 450, 1000, 60, 20, 195, 10, 37_000

REGISTERED = 1
"""Pins are registered, one cycle late."""


def changes(bench, signal):
    return signal != bench.before(signal)


def slots(mhz, enable_slots=1):
    """Claim when pins change; a longer E than a quarter of a slot plants a fault.

    Returns the bench and cycles from the slot's beginning: the last change of RS and data, E's rise
    and fall, and the slot's end.
    """
    bench = Bench(HD44780(mhz * 10**6))
    m, dut, timer = bench.m, bench.dut, bench.inside("timer")
    quarter = 1 << dut.slot_bits - 2
    late, rise = TEXT_LATENCY + REGISTERED, quarter + REGISTERED
    fall = rise + enable_slots * quarter
    # The source of the text answers in time, then holds.
    asked = bench.named(changes(bench, dut.text.address) | bench.before(dut.text.begin), "asked")
    most = TEXT_LATENCY + 1
    since = Signal(range(most + 1), init=most)
    asked_since = bench.named(Mux(asked, 0, since), "asked_since")
    m.d.sync += since.eq(Mux(asked_since == most, most, asked_since + 1))
    text = Cat(dut.text.character, dut.text.changed)
    bench.assume("text", ~changes(bench, text) | (asked_since <= TEXT_LATENCY))
    begun = bench.since_reset(1)
    bench.claim("counted", since <= most)
    bench.claim("asked", (asked_since == most) | (asked_since == timer) | ~begun)
    bench.claim("counts", timer == Mux(begun, bench.before(timer) + 1, 0)[: len(timer)])
    bench.claim("ends", bench.inside("ends") == (timer.all()))

    e, pins = dut.e, Cat(dut.rs, dut.d)
    before = bench.before(e)
    bench.claim("rise", ~(e & ~before) | (timer == rise))
    bench.claim("fall", ~(~e & before) | (timer == fall))
    inside = (timer >= rise) & (timer < fall)
    bench.claim("high", ~e | inside)
    bench.claim("pins", ~changes(bench, pins) | ((timer >= REGISTERED) & (timer <= late)))
    # The first E is high after 40 ms, which no search reaches: only its quarter is reached.
    bench.reach("time passes", timer == TEXT_LATENCY)
    return bench, late, rise, fall, 4 * quarter


@pytest.mark.parametrize("mhz", [12, 48])
def test_hd44780(proved, mhz):
    """RS and data change in a slot's first cycles only, E is high in its second quarter only."""
    bench, late, rise, fall, slot = slots(mhz)

    def least(nanoseconds):
        return ceil(Fraction(nanoseconds * mhz, 1000))

    assert fall - rise >= least(PWEH)
    assert slot >= least(TCYCE)
    assert rise - late >= least(TAS)
    assert fall - late >= least(TDSW)
    assert slot + REGISTERED - fall >= max(least(TAH), least(TH))
    assert slot + rise - fall >= least(EXECUTION)
    proved(bench, 4, reach=16)


def test_a_longer_enable_would_be_found(refuted):
    bench, *_ = slots(12, enable_slots=2)
    refuted(bench, 4, "fall", reach=16)


def line(half, wide=None):
    """Claim when pins change; a `wide` other than `half` plants a fault."""
    bench = Bench(Serialiser(half))
    dut, phase = bench.dut, bench.inside("phase")
    bit, wide = 2 * half, half if wide is None else wide
    inputs = Cat(dut.select, dut.level, dut.data)
    # The inputs hold from a bit's first cycle to its last.
    begun = bench.since_reset(1)
    bench.assume("inputs", ~changes(bench, inputs) | bench.before(dut.ends) | ~begun)
    before = bench.before(phase)
    bench.claim("counts", phase == Mux(begun & (before != bit - 1), before + 1, 0))
    bench.claim("ends", dut.ends == (phase == bit - 1))
    begins, middle = phase == REGISTERED % bit, phase == (wide + REGISTERED) % bit
    rises = dut.sck & ~bench.before(dut.sck)
    falls = ~dut.sck & bench.before(dut.sck)
    bench.claim("rise", ~rises | middle)
    bench.claim("fall", ~falls | begins)
    pins = Cat(dut.mosi, dut.dc, dut.cs)
    bench.claim("pins", ~changes(bench, pins) | begins | ~bench.since_reset(2))
    bench.claim("selected", ~dut.sck | ~dut.cs)
    bench.reach("rise", rises)
    bench.reach("data", changes(bench, dut.mosi) & bench.since_reset(3) & ~dut.cs)
    return bench


@pytest.mark.parametrize("half", [1, 2, 6])
def test_serial_line(proved, half):
    """Data, command and select change half a bit before the clock rises, and half a bit after."""
    proved(line(half), 4, reach=2 * half + 4)


def test_too_early_a_clock_would_be_found(refuted):
    refuted(line(3, wide=2), 12, "rise", induction=False)
