"""The program counter, for any program with a marked end."""

import pytest
from amaranth.hdl import Mux, Signal
from prove import Bench

from gptloom.firmware.isa import Kind
from gptloom.firmware.machine import Machine
from gptloom.hdl.folded.sequencer import Sequencer, _steps
from gptloom.model.config import ModelConfig

STARTS_AFTER = 3


class Running:
    """A sequencer, a program memory with arbitrary contents and a final instruction, and starts."""

    def __init__(self, lanes=16, marked=True):
        """Set up the bench; a missing mark of the end plants a fault."""
        machine = Machine.for_models(lanes, ModelConfig())
        self.bench = bench = Bench(Sequencer(machine))
        m, dut = bench.m, bench.dut
        end = self.end = bench.constant(range(machine.program_words), "end")
        # The memory answers a cycle later, then holds.
        self.read_at = read_at = Signal(range(machine.program_words))
        with m.If(dut.fetch):
            m.d.sync += read_at.eq(dut.fetch_address)
        word = bench.before(dut.instruction.as_value())
        keeps = bench.before(~dut.fetch)
        bench.assume("still", ~keeps | (dut.instruction.as_value() == word))
        if marked:
            bench.assume("the last one is final", (read_at != end) | dut.instruction.final)
        # Two tokens are at least two cycles apart; a token lasts until its program ends.
        self.busy, rest, age = Signal(), Signal(range(STARTS_AFTER)), Signal(2)
        with m.If(dut.start):
            m.d.sync += [self.busy.eq(1), rest.eq(0), age.eq(0)]
        with m.Elif(self.busy):
            m.d.sync += [age.eq(Mux(age == 3, 3, age + 1)), self.busy.eq(~dut.finished)]
        with m.Elif(rest != STARTS_AFTER - 1):
            m.d.sync += rest.eq(rest + 1)
        bench.assume("start", ~dut.start | (~self.busy & (rest == STARTS_AFTER - 1)))
        sample, position = bench.before(dut.sample), bench.before(dut.position)
        same = (dut.sample == sample) & (dut.position == position)
        bench.assume("token stays", dut.start | same)
        self.steps = _steps(machine)
        self.known(rest, age)

    def known(self, rest, age):
        """Claim invariants on registers, so that induction does not begin in unreachable states."""
        bench, m, dut = self.bench, self.bench.m, self.bench.dut
        names = ("running", "load", "advance", "begin", "beginning", "new", "now")
        running, load, advance, begin, beginning, new, now = (bench.inside(n) for n in names)
        waiting = bench.inside("waiting")
        new, now = (self.steps(signal) for signal in (new, now))
        operation = bench.inside("operation")
        self.at = operation[: len(self.end)]
        self.executing = bench.named(running | waiting, "executing")
        # Address of the decoded instruction: one after the memory's, one ahead of the executed one.
        self.decoded_at, kind, self.kind = Signal.like(self.end), Signal(Kind), Signal(Kind)
        with m.If(advance):
            m.d.sync += [self.decoded_at.eq(self.read_at), kind.eq(dut.instruction.kind)]
        with m.If(load):
            m.d.sync += self.kind.eq(kind)
        stepping = self.executing | begin.any()
        one, two, three = ((self.at + n)[: len(self.at)] for n in (1, 2, 3))
        bench.claim("one state", ~(running & waiting))
        bench.claim("busy", self.busy == stepping)
        bench.claim("begins", (begin == 0) | ~self.executing & (begin != 3))
        bench.claim("beginning", beginning == (begin != 0))
        bench.claim("first", ~begin[0] | ((dut.fetch_address == 1) & (self.read_at == 0)))
        second = (dut.fetch_address == 2) & (self.read_at == 1) & (self.decoded_at == 0)
        bench.claim("second", ~begin[1] | second)
        ahead = (self.decoded_at == one) & (self.read_at == two) & (dut.fetch_address == three)
        bench.claim("ahead", ~self.executing | ahead)
        bench.claim("rest", ~self.busy | (rest == 0))
        bench.claim("reads the first", self.busy | (rest == 0) | (dut.fetch_address == 0))
        bench.claim("has read it", self.busy | (rest < 2) | (self.read_at == 0))
        bench.claim("age", ~self.executing | (age == 3) | (age == 2))
        decoded = begin[1] | self.executing
        bench.claim("decoded end", ~(decoded & (self.decoded_at == self.end)) | new.over)
        bench.claim("executed end", ~(self.executing & (self.at == self.end)) | now.over)
        bench.claim("decoded kind", ~decoded | (new.values == (kind == Kind.VALUES)))
        bench.claim("decoded waits", ~decoded | ~new.values | new.waits)
        bench.claim("kind", ~self.executing | (now.values == (self.kind == Kind.VALUES)))


@pytest.mark.parametrize("lanes", [8, 64])
def test_program_counter(proved, lanes):
    """No instruction after the program's end is ever executed, whatever the program."""
    proved(within(Running(lanes)), 4, reach=14)


def within(running):
    """Claim that the program is not left."""
    bench = running.bench
    bench.claim("within", ~running.executing | (bench.inside("operation") <= running.end))
    bench.reach("goes on", running.executing & (running.at == 2))
    return bench


def test_a_program_without_an_end_would_be_found(refuted):
    refuted(within(Running(marked=False)), 12, "decoded end", induction=False)


@pytest.mark.parametrize("lanes", [8, 64])
def test_idle(proved, lanes):
    """Nothing is issued and nothing finishes without a start; an end is an end."""
    running = Running(lanes)
    bench, dut = running.bench, running.bench.dut
    active = dut.issue.valid | dut.finished | dut.scores_begin
    bench.claim("idle", running.busy | ~active)
    bench.claim("over", ~bench.before(dut.finished) | ~active)
    bench.claim("not at once", ~bench.before(dut.start) | ~active)
    bench.reach("over", bench.before(dut.finished))
    proved(bench, 4, reach=10)


def test_values_wait(proved):
    """Values are multiplied only when the softmax was ready before."""
    running = Running()
    bench, dut = running.bench, running.bench.dut
    begins = dut.issue.valid & dut.issue.first & dut.issue.job.opening
    values = begins & (running.kind == Kind.VALUES)
    # With passes of several cycles: the first one is the cycle after waiting.
    enters = bench.before(bench.inside("waiting"))
    bench.claim("ready", ~(values & enters) | bench.before(dut.softmax_ready))
    loaded = bench.before(bench.inside("load"))
    bench.claim("waits", ~(loaded & (running.kind == Kind.VALUES)) | ~dut.issue.valid)
    bench.reach("values", values)
    proved(bench, 4, reach=12)
