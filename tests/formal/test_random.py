"""The generator of random numbers."""

from amaranth.hdl import Signal
from prove import Bench

from gptloom.hdl.random import XorShift32


def test_never_zero(proved):
    """The state is never 0, nor the value after it; a seed is taken, 0 as 1."""
    bench = Bench(XorShift32())
    dut, state = bench.dut, bench.inside("state")
    bench.claim("state", state != 0)
    bench.claim("output", dut.o != 0)
    loaded, seed = bench.before(dut.load), bench.before(dut.seed)
    bench.claim("seed", ~loaded | (state == seed) | ((seed == 0) & (state == 1)))
    bench.reach("seed of 0", loaded & (seed == 0))
    bench.reach("runs", bench.before(dut.next, 3) & (state != 1))
    proved(bench, 4)


def test_different_states_have_different_followers(proved):
    """The follower is xorshift's, and no two states have the same one."""
    bench = Bench(XorShift32())
    m, state = bench.m, bench.inside("state")
    # The successors of the state and of any other state, computed bit by bit.
    other = bench.constant(32, "other")

    def follower(value, name):
        for n, (shift, left) in enumerate([(13, True), (17, False), (5, True)]):
            moved = Signal(32, name=f"{name}_{n}")
            m.d.comb += moved.eq(value ^ (value << shift if left else value >> shift))
            value = moved
        return value

    bench.claim("definition", bench.dut.o == follower(state, "same"))
    bench.claim("injective", (follower(other, "other") != bench.dut.o) | (other == state))
    bench.reach("others", other != state)
    proved(bench, 2)


def test_a_seed_of_zero_would_be_found(refuted, monkeypatch):
    monkeypatch.setattr("gptloom.hdl.random.Mux", lambda test, one, other: other)
    bench = Bench(XorShift32())
    bench.claim("state", bench.inside("state") != 0)
    bench.reach("any", bench.dut.o != 0)
    refuted(bench, 4, "state")
