"""The serial transmitter: frames of exact bits, and a receiver that samples anywhere in a bit."""

import pytest
from amaranth.hdl import Cat, Const, Mux, Signal, signed
from prove import Bench

from gptloom.hdl.uart import BITS, Transmitter

DIVIDERS = [1, 3, 104, 417]  # 104 and 417: 115200 baud from 12 and from 48 MHz


class Line:
    """A transmitter, and the expected levels of its line since the last byte was taken."""

    def __init__(self, divider, bit_cycles=None):
        """Claim bits of `bit_cycles`, those of the transmitter unless a fault is planted."""
        self.bench = bench = Bench(Transmitter(divider))
        cycles = divider if bit_cycles is None else bit_cycles
        m, dut = bench.m, bench.dut
        self.taken = bench.named(dut.i.valid & dut.i.ready, "taken")
        self.busy, self.byte = Signal(name="busy"), Signal(8, name="byte")
        self.bit = Signal(range(BITS), name="bit")
        self.cycle = Signal(range(max(2, cycles)), name="cycle")
        last = bench.named((self.bit == BITS - 1) & (self.cycle == cycles - 1), "last")
        with m.If(self.taken):
            m.d.sync += [self.busy.eq(1), self.byte.eq(dut.i.payload)]
            m.d.sync += [self.bit.eq(0), self.cycle.eq(0)]
        with m.Elif(self.busy & (self.cycle != cycles - 1)):
            m.d.sync += self.cycle.eq(self.cycle + 1)
        with m.Elif(self.busy):
            m.d.sync += [self.cycle.eq(0), self.bit.eq(Mux(last, 0, self.bit + 1))]
            m.d.sync += self.busy.eq(~last)
        frame = Cat(Const(0, 1), self.byte, Const(1, 1))
        bench.claim("line", dut.tx == Mux(self.busy, frame.bit_select(self.bit, 1), 1))
        bench.claim("ready", dut.i.ready == (~self.busy | last))
        bench.reach("sends", ~dut.tx)
        if divider < 4:
            bench.reach("ends", last & (self.byte == 0x55))
        if bit_cycles is not None:
            return

        # Invariants on internal registers, which exclude unreachable states from induction.
        timer, left, bits = (bench.inside(name) for name in ("timer", "left", "bits"))
        bench.claim("timer", timer == Mux(self.busy, divider - 1 - self.cycle, 0))
        bench.claim("ends", bench.inside("ends") == (timer == 0))
        bench.claim("left", left == Mux(self.busy, BITS - 1 - self.bit, 0))
        bench.claim("free", bench.inside("free") == (left == 0))
        coming = Cat(self.byte, Const(-1, signed(BITS + 1))) >> self.bit
        bench.claim("bits", bits == Mux(self.busy, coming[: BITS - 1], (1 << BITS - 1) - 1))
        bench.claim("counters", (self.cycle < cycles) & (self.bit < BITS))


@pytest.mark.parametrize("divider", DIVIDERS)
def test_frames(proved, divider):
    """Every level of a frame lasts exactly its bit, frames follow without a gap, idle is high."""
    proved(Line(divider).bench, 3, reach=BITS * divider + 2 if divider < 4 else 3)


def test_a_bit_too_short_is_found(refuted):
    refuted(Line(4, bit_cycles=5).bench, 8, "line", induction=False)


@pytest.mark.parametrize("divider", [1, 4])
def test_round_trip(proved, divider):
    """A receiver that samples at any one place of its bits gets every byte once, and no others."""
    line = Line(divider)
    bench, m, tx = line.bench, line.bench.m, line.bench.dut.tx
    phase = bench.constant(range(max(2, divider)), "phase")
    bench.assume("phase is within a bit", phase < divider)
    receiving, got = Signal(), Signal(BITS)
    at = Signal(range(BITS * divider + 1))
    now = bench.named(Mux(receiving, at, 0), "now")
    begins = bench.named(receiving | ~tx, "begins")
    sampled = bench.named(Cat(*(now == n * divider + phase for n in range(BITS))), "sampled")
    ends = bench.named(begins & sampled[-1], "ends_frame")
    with m.If(begins):
        m.d.sync += [receiving.eq(~ends), at.eq(now + 1)]
        with m.If(sampled.any()):
            m.d.sync += got.eq(Cat(got[1:], tx))
    frame = bench.named(Cat(got[1:], tx), "frame")
    bench.claim("byte", ~ends | (frame == Cat(Const(0, 1), line.byte, Const(1, 1))))
    # Bytes sent and not yet received: one from its start to its stop bit's sample, else none.
    sent = Signal(2)
    m.d.sync += sent.eq(sent + line.taken - ends)
    place = bench.named(line.bit * divider + line.cycle, "place")
    before_sample = place <= (BITS - 1) * divider + phase
    bench.claim("once", sent == (line.busy & before_sample))
    bench.claim("receiver", receiving == (line.busy & before_sample & (place != 0)))
    bench.claim("in step", ~receiving | (at == place))
    for n in range(BITS):
        # After its sample, bit n is in the top place, with the earlier ones below.
        here = receiving & (now > n * divider + phase) & (now <= (n + 1) * divider + phase)
        expected = Cat(Const(0, 1), line.byte, Const(1, 1))[: n + 1]
        bench.claim(f"got_{n}", ~here | (got[BITS - 1 - n :] == expected))
    bench.reach("received", ends)
    proved(bench, 3, reach=BITS * divider + 4)
