"""The control: for any timing, each token is taken, started and output once."""

import pytest
from amaranth.hdl import Cat, Mux, Signal
from prove import Bench

from gptloom.firmware.latencies import WRITE, Latencies
from gptloom.firmware.machine import Machine
from gptloom.hdl.core import TOKEN_BITS
from gptloom.hdl.folded.control import Control
from gptloom.model.config import ModelConfig

STATES = ("idle", "token", "flush", "prompt", "emit", "drop")
PROGRAM = 4
"""Minimum cycles of a program and the sampler together, and of a program alone."""


class Surroundings:
    """A control, and assumptions about the core around it."""

    def __init__(self, lanes=16):
        self.machine = Machine.for_models(lanes, ModelConfig())
        self.bench = bench = Bench(Control(self.machine))
        dut = self.dut = bench.dut
        # One of the ports is called `token` as well.
        of_state = {name: bench.all_inside(name) for name in STATES}
        self.state = {
            name: next(signal for signal in signals if signal is not dut.token)
            for name, signals in of_state.items()
        }
        last_position = bench.constant(dut.last_position.shape(), "context_end")
        bos = bench.constant(dut.bos.shape(), "end_token")
        bench.assume("kept positions are some", dut.keep <= last_position)
        bench.assume("settings stay", (dut.last_position == last_position) & (dut.bos == bos))
        # A token is in progress from its start until its program ends, or its successor is sampled.
        under_way, age = Signal(), Signal(range(PROGRAM + 1))
        with bench.m.If(dut.start):
            bench.m.d.sync += [under_way.eq(1), age.eq(0)]
        with bench.m.Else():
            bench.m.d.sync += age.eq(Mux(age == PROGRAM, age, age + 1))
            with bench.m.If(Mux(dut.sample, dut.done, dut.finished)):
                bench.m.d.sync += under_way.eq(0)
        self.under_way, self.age = under_way, age
        ends = under_way & (age == PROGRAM)
        bench.assume("done", ~dut.done | (ends & dut.sample))
        bench.assume("finished", ~dut.finished | ends)
        # The sampled token holds until the next token's logits.
        sampled = bench.before(dut.sampled)
        bench.assume("sampled stays", dut.done | under_way | (dut.sampled == sampled))
        taken = bench.named(dut.i.valid & dut.i.ready, "taken")
        given = bench.named(dut.o.valid & dut.o.ready, "given")
        self.taken, self.given = taken, given
        self.sampled = bench.named(self.state["token"] & dut.sample & dut.done, "was_sampled")

    def known(self):
        """Claim invariants on states, so that induction does not begin in unreachable ones."""
        bench, dut, state = self.bench, self.dut, self.state
        states = Cat(*state.values())
        bench.claim("one state", (states != 0) & ((states & (states - 1)) == 0))
        finished = bench.inside("delayed")
        waits = state["token"] & ~(finished & ~dut.sample)
        bench.claim("under way", (self.under_way | dut.start) == waits)
        bench.claim("start", ~dut.start | state["token"])


def test_sampled_tokens(proved):
    """Every sampled token is output once, in order, and holds until it is taken."""
    proved(queue(Surroundings()), 6, reach=24)


def queue(around):
    """Claim that a queue of sampled tokens has the same output as the control."""
    around.known()
    bench, dut, m = around.bench, around.dut, around.bench.m
    first, second, waiting = Signal(8), Signal(8), Signal(2)
    with m.If(around.given):
        m.d.sync += first.eq(second)
    with m.If(around.sampled):
        with m.If(waiting - around.given == 0):
            m.d.sync += first.eq(dut.sampled)
        with m.Else():
            m.d.sync += second.eq(dut.sampled)
    m.d.sync += waiting.eq(waiting + around.sampled - around.given)
    emit, valid, payload = around.state["emit"], dut.o.valid, dut.o.payload
    bench.claim("in order", ~valid | (payload.token == first))
    bench.claim("once", waiting == emit + valid)
    bench.claim("at most two", waiting <= 2)
    bench.claim("held", ~emit | (dut.sampled == Mux(valid, second, first)))
    stalled = bench.before(valid & ~dut.o.ready)
    before = bench.before(payload.as_value())
    bench.claim("stays", ~stalled | (valid & (payload.as_value() == before)))
    bench.claim("sampled once", ~(around.sampled & emit))
    bench.reach("two wait", waiting == 2)
    return bench


def test_a_token_given_twice_would_be_found(refuted, monkeypatch):
    # Planted fault: the output's token is loaded again while it waits.
    elaborate = Control.elaborate

    def faulty(self, platform):
        m = elaborate(self, platform)
        with m.If(self.o.valid & ~self.o.ready):
            m.d.sync += self.o.p.token.eq(self.sampled)
        return m

    monkeypatch.setattr(Control, "elaborate", faulty)
    refuted(queue(Surroundings()), 30, "in order", induction=False)


def test_known_tokens(proved):
    """Every known token taken is started next, at the next position, or else dropped at the end."""
    around = Surroundings()
    around.known()
    bench, dut, state = around.bench, around.dut, around.state
    used = bench.named(around.taken & ~state["drop"], "used")
    before = bench.before(dut.i.payload.as_value())
    started = bench.before(used)
    bench.claim("started", ~started | (dut.start & (dut.token == before[: len(dut.token)])))
    position = bench.before(dut.position)
    opening = bench.before(state["idle"])
    expected = Mux(opening, bench.before(dut.keep), position + 1)[: len(position)]
    bench.claim("position", ~started | (dut.position == expected))
    bench.claim("sampled after the last", ~(started & before[TOKEN_BITS]) | dut.sample)
    own = bench.before(state["emit"])
    bench.claim("nothing else", ~dut.start | started | own)
    bench.claim("held", ~bench.before(dut.hold & state["idle"]) | (state["idle"] & ~dut.start))
    following = bench.inside("following")
    known = ~dut.start & ~state["idle"] & ~state["drop"]
    bench.claim("following", ~known | (following == (dut.position + 1)[: len(position)]))
    bench.claim(
        "age", ~(state["flush"] | state["prompt"] | state["emit"]) | (around.age == PROGRAM)
    )
    bench.claim("young", ~dut.start | bench.named(~around.under_way, "not_yet"))
    bench.reach("second", started & (dut.position == 1))
    proved(bench, 6, reach=40)


@pytest.mark.parametrize("lanes", [8, 64])
def test_results_are_written_before_the_next_token(proved, lanes):
    """After a prompt's token the next one starts only when its results are written."""
    around = Surroundings(lanes)
    around.known()
    bench, dut, m, state = around.bench, around.dut, around.bench.m, around.state
    machine, latencies = around.machine, Latencies.of(around.machine)
    least = latencies.drain + latencies.result + WRITE + machine.beats
    # The counter saturates beyond these cycles.
    most = least + 2
    since = Signal(range(most + 1))
    over = bench.named(around.under_way & dut.finished & ~dut.sample, "over")
    m.d.sync += since.eq(Mux(over, 1, Mux(since == most, most, since + (since != 0))))
    long_ago = bench.named((since == 0) | (since == most), "long_ago")
    bench.claim("written", ~dut.start | (since == 0) | (since >= least))
    # Invariant of the counter: it counts from `end - least + 1` to the end, one per cycle.
    flushing, finished = bench.inside("flushing"), bench.inside("delayed")
    end = 1 << len(flushing) - 1
    flush, token = state["flush"], state["token"]
    bench.claim("just over", ~token | Mux(finished & ~dut.sample, since == 1, long_ago))
    bench.claim("ready to count", ~token | dut.start | (flushing == end + 1 - least))
    bench.claim("counts", ~flush | ((since == flushing - (end - 1 - least)) & (flushing <= end)))
    bench.claim("long ago", token | flush | long_ago)
    bench.reach("next", dut.start & (since == most))
    proved(bench, 6, reach=least + 16)


def test_positions(proved):
    """No token starts beyond the context's end; one at the end is sampled and is the last."""
    around = Surroundings()
    around.known()
    bench, dut, state = around.bench, around.dut, around.state
    end, start = dut.last_position, dut.start
    bench.claim("within", ~(start | state["token"]) | (dut.position <= end))
    bench.claim("end is sampled", ~(state["token"] & (dut.position == end)) | dut.sample)
    old = around.age == PROGRAM
    following, follows = bench.inside("following"), bench.inside("last_follows")
    known = state["token"] & ~start & (around.age >= 1)
    late = bench.named(state["flush"] | state["prompt"] | state["emit"], "late")
    next_position = (dut.position + 1)[: len(dut.position)]
    bench.claim("following", ~(known | late) | (following == next_position))
    known_later = state["token"] & ~start & (around.age >= 2)
    bench.claim("follows", ~(known_later | late) | (follows == (following == end)))
    bench.claim("old", ~late | old)
    bench.claim("known", ~(state["flush"] | state["prompt"]) | (dut.position < end))
    bench.claim("emitted within", ~state["emit"] | (dut.position <= end))
    ends = bench.all_inside("ends")[0]
    right = (dut.position == end) | (dut.sampled == dut.bos)
    bench.claim("ends", ~state["emit"] | (ends == bench.before(right)))
    bench.claim("last", ~(dut.o.valid & (dut.o.p.position == end)) | dut.o.p.last)
    bench.reach("end", dut.o.valid & (dut.o.p.position == end) & (end == 1))
    proved(bench, 8, reach=40)
