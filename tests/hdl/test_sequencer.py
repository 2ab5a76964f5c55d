"""The sequencer issues the operands of a program, cycle by cycle, at every position."""

import numpy as np
import pytest

from gptloom.firmware.isa import Instruction, InstructionLayout, Kind
from gptloom.firmware.latencies import FIRST
from gptloom.firmware.layout import Layout
from gptloom.firmware.machine import LANES, QUAD, Machine
from gptloom.firmware.program import compile_program
from gptloom.hdl.folded.sequencer import Sequencer
from gptloom.model.config import ModelConfig

SHAPES = {
    "microgpt": ModelConfig(),
    "width 24": ModelConfig.GATEGPT,
    "two layers": ModelConfig.TWO_LAYER,
    "one head, context 8": ModelConfig(heads=1, hidden=32, context=8),
    "two heads": ModelConfig(heads=2, hidden=32),
}
# Each number of lanes and each shape at least once, for everyday.
CASES = [
    (16, "microgpt"), (16, "width 24"), (64, "two layers"), (64, "one head, context 8"),
    (8, "two heads"), (32, "two heads"),
]  # fmt: skip
OTHERS = [(lanes, "microgpt") for lanes in LANES if lanes != 16] + [(16, "one head, context 8")]


def strides(machine):
    context = machine.context
    return {"key_stride": machine.key_stride(context), "value_stride": context // QUAD}


class Running:
    """A sequencer with its program memory, which answers a cycle later and then holds."""

    def __init__(self, bench, machine, program):
        self.machine, self.program = machine, program
        self.block = bench(Sequencer(machine))
        self.block.set(**strides(machine))
        self.now = 0
        self.ready_at = None

    def step(self, start=0):
        """Step one cycle; return its issue, or None, and whether the program ends."""
        get = self.block.get
        ready = self.ready_at is not None and self.now >= self.ready_at
        self.block.set(start=start, softmax_ready=ready)
        issue, begins = get("issue"), get("scores_begin")
        seen = (issue, get("operand"), get("row"), begins) if issue.valid else None
        finished = get("finished")
        fetched = self.program[get("fetch_address") % len(self.program)] if get("fetch") else None
        self.block.step()
        self.now += 1
        if fetched is not None:
            self.block.set(instruction=fields(fetched, self.machine))
        return seen, finished

    def token(self, position, sample, softmax):
        """Run a token; the softmax is ready `softmax` cycles after the last score was issued."""
        # Results delay the next token: meanwhile the first instruction is read.
        self.step()
        self.step()
        self.now, self.ready_at = 0, None
        self.block.set(position=position, sample=sample)
        issued = {}
        while True:
            cycle = self.now
            seen, finished = self.step(start=cycle == 0)
            if seen:
                issued[cycle] = seen
                if self.program[seen[0].job.operation].kind == Kind.SCORES:
                    self.ready_at = cycle + softmax
            if finished:
                return issued, cycle
            assert self.now < 3000


def fields(instruction, machine):
    return {name: int(getattr(instruction, name)) for name in InstructionLayout(machine).issue}


def expected_issues(machine, program, position, sample, softmax):
    """Return the issues by cycle, from the instruction's definition alone."""
    issues, cycle, last_score = {}, FIRST, None
    for number, i in enumerate(program):
        beats = machine.beats
        passes, quads = i.passes, i.quads
        if i.kind == Kind.SCORES:
            # A unit scores one head at one position.
            passes = -(-(position + 1) * machine.heads // machine.units)
            beats = machine.score_beats
        if i.kind == Kind.VALUES:
            quads = position // QUAD + 1
            # It takes a cycle to see that the softmax is ready.
            cycle = max(cycle, last_score + softmax) + 1
        else:
            cycle += i.delay
        for n in range(passes):
            for k in range(max(quads, beats)):
                if k < quads:
                    issues[cycle] = (number, n, k, quads, where(machine, i, n, k))
                    if i.kind == Kind.SCORES:
                        last_score = cycle
                cycle += 1
        if i.final or (i.prefill_final and not sample):
            return issues, cycle - 1
    raise AssertionError("the program has no end")


def where(machine, i, n, k):
    """Return operand word, activation word, and bank or offset of quad k of pass n."""
    if i.kind == Kind.MATRIX:
        word = i.base + n * i.quads + k
        return word, i.source + k // machine.heads, ("bank", k % machine.heads)
    if i.kind == Kind.SCORES:
        # If there are fewer units than heads, units take heads in turn.
        word = i.base + n + k * strides(machine)["key_stride"]
        return word, i.source + k, ("offset", n % machine.words_per_position)
    if i.kind == Kind.VALUES:
        return i.base + n * strides(machine)["value_stride"] + k, i.source + k, None
    return None


def check(running, position, sample, softmax):
    program, machine = running.program, running.machine
    issued, end = running.token(position, sample, softmax)
    expected, expected_end = expected_issues(machine, program, position, sample, softmax)
    assert list(issued) == list(expected)
    assert end == expected_end
    for cycle, (number, n, k, quads, place) in expected.items():
        issue, operand, row, begins = issued[cycle]
        i = program[number]
        assert (issue.first, issue.last) == (k == 0, k == quads - 1)
        assert issue.broadcast == (i.kind == Kind.MATRIX)
        assert begins == (i.kind == Kind.SCORES and n == k == 0)
        assert (issue.job.operation, issue.job.opening) == (number, n == 0)
        if place is not None:
            assert (operand, row) == place[:2]
            if place[2]:
                assert issue[place[2][0]] == place[2][1]


@pytest.fixture(
    params=[*CASES, *(pytest.param(case, marks=pytest.mark.nightly) for case in OTHERS)],
    ids=str,
    scope="module",
)
def running(request, bench, random_model):
    lanes, shape = request.param
    config = SHAPES[shape]
    machine = Machine.for_models(lanes, config)
    program = compile_program(random_model(config), Layout(machine, config))
    return Running(bench, machine, [scheduled.instruction for scheduled in program])


def test_every_position(running):
    for position in range(running.machine.context):
        check(running, position, sample=True, softmax=20 + position)


def test_a_prompts_token_ends_before_the_logits(running):
    for position in (0, 5, running.machine.context - 1):
        check(running, position, sample=False, softmax=25)
        # The next token finds the sequencer in its initial state.
        check(running, position, sample=True, softmax=25)


def test_values_wait_for_the_softmax_however_long(running):
    # From a softmax that was ready long ago to a slow one.
    for softmax in (2, 3, 10, 40, 41, 42, 300):
        check(running, 3, sample=True, softmax=softmax)


def test_idle_without_a_start(running):
    for _ in range(50):
        assert running.step() == (None, 0)


@pytest.mark.parametrize("delay", [0, 1, 2, 3, 17, 63])
def test_delays_are_exact(bench, delay):
    machine = Machine.for_models(64, ModelConfig())
    one_cycle = dict(passes=1, quads=machine.beats)
    draw = np.random.default_rng(delay)
    last = machine.operand_words - machine.beats
    program = [
        Instruction(base=int(draw.integers(last)), delay=d, source=2, **one_cycle)
        for d in (delay, 0, delay, delay, 0, 1)
    ]
    program.append(Instruction(delay=delay, final=True, passes=2, quads=1))
    running = Running(bench, machine, program)
    for _ in range(2):
        check(running, 0, sample=True, softmax=0)


def test_shortest_instructions_follow_each_other_without_a_gap(bench):
    # One pass of one quad: on two units, as many cycles as results take to leave.
    machine = Machine.for_models(8, ModelConfig())
    program = [Instruction(base=i, passes=1, quads=1, final=i == 5) for i in range(6)]
    issued, end = Running(bench, machine, program).token(0, 1, 0)
    assert list(issued) == [FIRST + i * machine.beats for i in range(6)]
    assert end == FIRST + 6 * machine.beats - 1
