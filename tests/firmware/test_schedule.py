"""No instruction reads too early or overwrites data still needed; none waits in vain.

The program is replayed as the hardware runs it, with the latencies that the blocks state, and
every location is tracked: its writer, the cycle from which it can be read, and all reads.
"""

import functools
import warnings
from collections import defaultdict
from dataclasses import dataclass, field, replace

import pytest
from amaranth.hdl import UnusedElaboratable

from gptloom.firmware import latencies
from gptloom.firmware.isa import Combination, Destination, Kind, Scale
from gptloom.firmware.layout import Layout
from gptloom.firmware.machine import LANES, QUAD, Machine
from gptloom.firmware.program import compile_program
from gptloom.hdl.folded.embedding import Embedding
from gptloom.hdl.folded.mac_array import MacArray
from gptloom.hdl.folded.norm import Norm
from gptloom.hdl.folded.requantise import ScoreQuantise
from gptloom.hdl.folded.sampler import Sampler
from gptloom.hdl.folded.writeback import Writeback
from gptloom.model.config import ModelConfig

SHAPES = {
    "microgpt": ModelConfig(),
    "width 24": ModelConfig.GATEGPT,
    "three layers": ModelConfig(layers=3),
    "two heads": ModelConfig(heads=2, hidden=32),
    "one head, context 8": ModelConfig(width=8, heads=1, hidden=12, context=8, vocabulary=5),
    "tiny": ModelConfig(layers=2, width=4, heads=4, hidden=4, context=4, vocabulary=2),
    "narrow and deep": ModelConfig(layers=5, width=8, heads=2, hidden=64, vocabulary=64),
    "wide": ModelConfig(width=48, heads=4, hidden=64, context=32, vocabulary=64),
    "recurrent": ModelConfig(positions="alibi", eviction="recurrent"),
    "recurrent and wide": ModelConfig(
        width=48, heads=2, hidden=64, positions="alibi", eviction="recurrent"
    ),
}


class Latencies:
    """Latencies as stated by the blocks of a machine."""

    def __init__(self, machine):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UnusedElaboratable)
            # The MAC array's sums are copied by the drain.
            self.drain = MacArray(machine).latency + 1
            self.result = Writeback(machine).latency
            self.norm = Norm(machine).latency
            # The control's start also starts the embedding, whose sums are registered as results.
            self.embed = Embedding(machine).latency + 1
            self.score = ScoreQuantise(machine.accumulator_bits, machine.deep).latency
            self.sample = Sampler(machine).latency


latencies_of = functools.cache(Latencies)


@pytest.mark.parametrize("lanes", LANES)
def test_latencies_are_the_blocks(lanes):
    machine = Machine.for_models(lanes, ModelConfig())
    assert vars(Latencies(machine)).items() <= vars(latencies.Latencies.of(machine)).items()


@dataclass
class Memory:
    """Locations of any kind, accessed in program order, each access with its cycle."""

    readable: dict = field(default_factory=dict)
    last_read: dict = field(default_factory=lambda: defaultdict(int))
    faults: list = field(default_factory=list)

    def read(self, place, cycle):
        if self.readable.get(place, 0) > cycle:
            self.faults.append(f"{place} is read in {cycle}, written for {self.readable[place]}")
        self.last_read[place] = max(self.last_read[place], cycle)

    def write(self, place, cycle):
        """Write a location, to be readable in the cycle after.

        Memories guarantee nothing for a read during a write; the norm is a register.
        """
        busy_until = cycle + (place == "norm")
        if self.last_read[place] >= busy_until or self.readable.get(place, 0) > cycle + 1:
            self.faults.append(f"{place} is overwritten in {cycle}, too early")
        self.readable[place] = cycle + 1


class Replay:
    """One token at one position."""

    def __init__(self, layout, program, position, whole_keys=False):
        self.layout, self.machine, self.position = layout, layout.machine, position
        self.latencies = latencies_of(layout.machine)
        # Whether the sums are ready by then is checked in the block's own test.
        self.sums = latencies.Latencies.of(layout.machine).sums
        self.whole_keys = whole_keys
        self.memory = Memory()
        self.results = set()
        self.drained = 0
        self.attention = None
        self.embed()
        now = latencies.FIRST
        for i in program:
            now = self.run(i, now)

    @property
    def faults(self):
        return self.memory.faults

    def element(self, base, j):
        quad = j // QUAD
        heads = self.machine.heads
        return "activation", base + quad // heads, quad % heads, j % QUAD

    def result(self, cycle, activation):
        """Present a result to the memories."""
        if cycle in self.results:
            self.faults.append(f"two results in {cycle}")
        if activation and self.attention is not None and cycle >= self.attention:
            self.faults.append(f"a result in {cycle} meets the softmax at the write port")

    def embed(self):
        beats = set()
        for j in range(self.layout.config.width):
            cycle = self.latencies.embed + j // self.machine.writers
            beats.add(cycle)
            self.memory.write(self.element(self.layout.stream, j), cycle)
            self.memory.write(("stream", j), cycle)
        self.results |= beats
        self.memory.write("norm", max(beats) + self.latencies.norm - 1)

    def run(self, i, now):
        m, heads = self.machine, self.machine.heads
        passes, quads, beats = i.passes, i.quads, m.beats
        start = now + i.delay
        if i.kind == Kind.SCORES:
            passes, beats = -(-(self.position + 1) * heads // m.units), m.score_beats
        if i.kind == Kind.VALUES:
            quads = self.position // QUAD + 1
            # The last score does not reach the softmax before this cycle.
            start = max(now, self.attention) + 1
            self.attention = None
        length = max(quads, beats)
        for n in range(passes):
            for k in range(quads):
                self.issue(i, n, k, start, start + n * length + k)
        for n in range(passes):
            out = start + n * length + quads - 1 + self.latencies.drain
            if out < self.drained:
                self.faults.append(f"a pass is drained in {out}, the one before until then")
            self.drained = out + beats
            self.drain(i, n, out)
        if i.kind == Kind.SCORES:
            self.attention = self.drained
        return start + passes * length

    def issue(self, i, n, k, start, cycle):
        m, heads, read = self.machine, self.machine.heads, self.memory.read
        if i.kind == Kind.MATRIX:
            for lane in range(QUAD):
                read(self.element(i.source, k * QUAD + lane), cycle)
            if self.attention is not None:
                self.faults.append(f"activations are read in {cycle}, while the softmax does")
        for unit in range(m.units):
            number, output = n * m.units + unit, n * m.units + unit
            if i.kind == Kind.SCORES and number // heads <= self.position:
                for lane in range(QUAD):
                    read(("activation", i.source + k, number % heads, lane), cycle)
                if number // heads == self.position:
                    element = (k * heads + number % heads) * QUAD
                    for lane in range(QUAD):
                        key = ("key", i.base, element + lane)
                        read(key, start if self.whole_keys else cycle)
            if i.kind == Kind.VALUES and self.position // QUAD == k:
                read(("value", i.base, output), cycle)

    def drain(self, i, n, out):
        m, memory = self.machine, self.memory
        if i.kind == Kind.SCORES:
            return
        written = {}
        for unit in range(m.units):
            j, cycle = n * m.units + unit, out + unit // m.writers
            if j >= i.rows:
                continue
            if i.scale == Scale.NORM:
                memory.read("norm", cycle)
            if i.scale == Scale.SUM and self.sums and cycle < self.sums:
                self.faults.append(f"sums are wanted in {cycle}, too early")
            if i.combination is Combination.ADD or i.destination == Destination.RESIDUAL:
                # The stream is addressed a cycle ahead.
                memory.read(("stream", j), cycle - 1)
            written[j] = cycle + self.latencies.result
            if i.destination == Destination.LOGITS and m.writers > 1:
                # Addressed a cycle ahead, and drawn one per cycle since the last sample.
                memory.readable["noise", j] = latencies.NOISE + j
                memory.read(("noise", j), written[j])
        activation = i.destination in (Destination.ACTIVATION, Destination.STREAM)
        for cycle in set(written.values()):
            self.result(cycle, activation)
        self.results |= set(written.values())
        for j, cycle in written.items():
            if activation:
                memory.write(self.element(i.target, j), cycle)
            if i.destination in (Destination.STREAM, Destination.RESIDUAL):
                memory.write(("stream", j), cycle)
            if i.destination in (Destination.KEY, Destination.VALUE):
                memory.write((i.destination.name.lower(), i.target, j), cycle)
            if i.destination == Destination.STREAM and j == i.rows - 1:
                memory.write("norm", cycle + self.latencies.norm - 1)


def compiled(random_model, lanes, config):
    layout = Layout(Machine.for_models(lanes, config), config)
    return layout, [
        scheduled.instruction for scheduled in compile_program(random_model(config), layout)
    ]


@pytest.fixture(params=[(lanes, name) for lanes in LANES for name in SHAPES], ids=str)
def case(request, random_model):
    lanes, name = request.param
    return compiled(random_model, lanes, SHAPES[name])


def positions(layout):
    context = layout.config.context
    return range(context) if context <= 16 else (0, 1, 2, 3, 4, 15, 16, context - 1)


def test_nothing_is_read_too_early_or_overwritten_too_early(case):
    layout, program = case
    for position in positions(layout):
        assert not Replay(layout, program, position).faults


def test_one_cycle_less_of_any_delay_breaks_something(case):
    layout, program = case
    delayed = [number for number, i in enumerate(program) if i.delay]
    assert delayed
    for number in delayed:
        after_values = program[number - 1].kind == Kind.VALUES
        if after_values and layout.config.context // QUAD < layout.machine.beats:
            # The delay is for passes full of positions, which this context never reaches.
            continue
        early = replace(program[number], delay=program[number].delay - 1)
        hurried = [*program[:number], early, *program[number + 1 :]]
        assert any(
            Replay(layout, hurried, position, whole_keys=True).faults
            for position in positions(layout)
        ), number


@pytest.mark.parametrize("lanes", [32, 64])
def test_logits_wait_for_their_noise(random_model, lanes):
    config = ModelConfig(width=8, heads=4, hidden=8, context=4, vocabulary=1000)
    layout, program = compiled(random_model, lanes, config)
    assert not Replay(layout, program, 0).faults
    # It is scheduled as if softmax took no time, so it waits a few cycles more than needed.
    few = compiled(random_model, lanes, replace(config, vocabulary=60))[1][-1]
    early = replace(program[-1], delay=few.delay)
    faults = Replay(layout, [*program[:-1], early], 0).faults
    assert faults
    assert all("noise" in fault for fault in faults)


def test_times_are_those_of_the_replay(random_model):
    config = ModelConfig.TWO_LAYER
    for lanes in LANES:
        layout = Layout(Machine.for_models(lanes, config), config)
        schedule = compile_program(random_model(config), layout)
        for before, scheduled in zip([None, *schedule], schedule, strict=False):
            assert scheduled.finish > scheduled.start
            if scheduled.instruction.kind == Kind.VALUES:
                assert scheduled.instruction.delay == 0
            else:
                assert (
                    scheduled.start
                    == (before.finish if before else latencies.FIRST) + scheduled.instruction.delay
                )


def test_the_check_itself_finds_each_kind_of_fault(random_model):
    """Without any delay every kind of fault occurs somewhere."""
    found = set()
    for name in ("microgpt", "narrow and deep", "tiny"):
        for lanes in LANES:
            layout, program = compiled(random_model, lanes, SHAPES[name])
            hasty = [replace(i, delay=0) for i in program]
            for fault in Replay(layout, hasty, 0).faults:
                found.add(fault.split("'")[1] if "'" in fault else fault.split(" ")[0])
    assert {"activation", "norm", "key", "stream"} <= found
