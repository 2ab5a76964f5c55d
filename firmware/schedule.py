"""Earliest starts of instructions: the pipeline's latencies, and the delays that they require.

The core has no interlocks but one (``VALUES`` waits for the softmax): a program is correct only if
its delays are. All times are cycles.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gptloom.firmware.isa import (
    Combination,
    Destination,
    Function,
    Input,
    Instruction,
    Kind,
    Scale,
)
from gptloom.firmware.latencies import FIRST, NOISE, WRITE, Latencies
from gptloom.firmware.layout import Layout
from gptloom.firmware.machine import QUAD
from gptloom.model.sites import Site


@dataclass(frozen=True)
class Step:
    """An instruction, and the site of the network that it computes."""

    site: Site
    instruction: Instruction


@dataclass(frozen=True)
class Scheduled:
    """A step's place in time, relative to the token's start.

    After ``SCORES``, times are relative to the present end of the scores: their number of passes
    depends on the position.
    """

    step: Step
    start: int
    finish: int

    @property
    def instruction(self) -> Instruction:
        """The step's instruction, with its delay."""
        return self.step.instruction


class Scheduler:
    """Gives every instruction of a token the smallest delay that keeps its operands correct."""

    def __init__(self, layout: Layout):
        self._layout = layout
        self._machine = layout.machine
        self._latencies = Latencies.of(layout.machine)
        self._free = FIRST
        # Issue cycle from which each quad of an activation region can be read.
        self._quads: dict[int, list[int]] = {}
        self._keys = self._values = 0
        # Issue cycle from which the last operand of a pass finds the drain empty.
        self._drain = 0
        self._embed()

    def schedule(self, program: Sequence[Step]) -> list[Scheduled]:
        """Return the steps of one token with their delays filled in."""
        schedule = []
        for step in program:
            instruction = step.instruction
            start = max(self._free, self._earliest(instruction))
            passes, length = self._shape(instruction)
            finish = start + passes * length
            placed = replace(instruction, delay=start - self._free)
            if instruction.kind is Kind.VALUES:
                placed = replace(instruction, delay=0)
            schedule.append(Scheduled(replace(step, instruction=placed), start, finish))
            self._retire(placed, start, passes, length)
            self._free = finish
        return schedule

    def _embed(self) -> None:
        writers = self._machine.writers
        elements = range(self._layout.config.width)
        written = [self._latencies.embed + j // writers + WRITE for j in elements]
        self._quads[self._layout.stream] = written[QUAD - 1 :: QUAD]
        # Cycles from which elements can be read that are combined with results.
        self._beside = {Destination.STREAM: written, Destination.GATE: []}
        self._norm = written[-1] - WRITE + self._latencies.norm
        self._embedded = written[-1]

    def _shape(self, instruction: Instruction) -> tuple[int, int]:
        """Return passes and cycles from pass to pass, at the position with the tightest timing."""
        m = self._machine
        if instruction.kind is Kind.SCORES:
            return m.passes_per_position, max(instruction.quads, m.score_beats)
        if instruction.kind is Kind.VALUES:
            # More positions make passes longer, so that early passes only get further ahead.
            return instruction.passes, m.beats
        return instruction.passes, max(instruction.quads, m.beats)

    def _earliest(self, instruction: Instruction) -> int:
        # Writes of an instruction that starts in cycle 0.
        written = self._written(instruction, 0, self._shape(instruction)[1])
        bounds = [self._drain - (max(instruction.quads, 1) - 1)]
        if instruction.kind is Kind.MATRIX:
            ready = self._quads[instruction.source]
            bounds += [cycle - quad for quad, cycle in enumerate(ready[: instruction.quads])]
        if instruction.kind is Kind.SCORES:
            heads = self._machine.heads
            ready = self._quads[instruction.source]
            bounds += [cycle - quad // heads for quad, cycle in enumerate(ready)]
            bounds.append(self._keys)
            if self._machine.overlaps:
                bounds.append(self._values - self._least_attention(instruction))
        if instruction.scale is Scale.NORM:
            quads = max(instruction.quads, 1)
            used = self._latencies.drain + self._latencies.scale
            bounds.append(self._norm - used - (quads - 1))
        for source in self._read_beside(instruction):
            # They are read in the cycle before their results leave the drain.
            before = self._latencies.result + 1
            pairs = zip(self._beside[source], written, strict=True)
            bounds.append(max(at - (cycle - before) for at, cycle in pairs))
        if self._machine.gated and instruction.rows:
            # Embeddings are written through the same port, and angles are found meanwhile.
            turns = instruction.function is Function.ROTATE
            bounds.append(max(self._embedded, self._latencies.turn if turns else 0) - written[0])
        if instruction.destination is Destination.LOGITS and self._machine.writers > 1:
            # Noise is drawn into a memory meanwhile, one value a cycle.
            bounds.append(max(NOISE + j - cycle for j, cycle in enumerate(written)))
        if instruction.scale is Scale.SUM and self._machine.recurrent:
            # Embeddings are written through the same port.
            ready = max(self._latencies.sums, self._embedded - self._latencies.result)
            bounds.append(ready - self._latencies.drain)
        return max(bounds)

    def _least_attention(self, scores: Instruction) -> int:
        """Return the cycles from the first score's issue to a mix that overlaps the softmax."""
        passes, length = self._shape(scores)
        last = (passes - 1) * length + scores.quads - 1
        latencies = self._latencies
        return last + latencies.read_back + latencies.numerator + latencies.reciprocals

    def _retire(self, instruction: Instruction, start: int, passes: int, length: int) -> None:
        m, latencies = self._machine, self._latencies
        quads = self._operands(instruction, length)
        beats = m.score_beats if instruction.kind is Kind.SCORES else m.beats
        self._drain = start + (passes - 1) * length + quads - 1 + beats
        written = self._written(instruction, start, length)
        readable = [cycle + WRITE for cycle in written]
        if instruction.destination in (Destination.ACTIVATION, Destination.STREAM):
            whole = readable[QUAD - 1 :: QUAD]
            self._quads[instruction.target] = whole
        if instruction.destination in (Destination.STREAM, Destination.RESIDUAL):
            self._beside[Destination.STREAM] = readable
        if instruction.destination is Destination.GATE:
            self._beside[Destination.GATE] = readable
        if instruction.destination is Destination.STREAM:
            self._norm = written[-1] + latencies.norm
        if instruction.destination is Destination.KEY:
            self._keys = readable[-1]
        if instruction.destination is Destination.VALUE:
            self._values = readable[-1]

    @staticmethod
    def _read_beside(instruction: Instruction) -> list[Destination]:
        """Return the destinations whose elements become an instruction's results, or parts."""
        found = []
        if instruction.input is not Input.SUMS or instruction.combination is Combination.ADD:
            found.append(Destination.STREAM)
        if instruction.combination is Combination.MULTIPLY:
            found.append(Destination.GATE)
        return found

    @staticmethod
    def _operands(instruction: Instruction, length: int) -> int:
        """Return the largest number of cycles of a pass that have an operand."""
        # VALUES may use its whole pass; every other instruction has its own number of quads.
        return length if instruction.kind is Kind.VALUES else max(instruction.quads, 1)

    def _written(self, instruction: Instruction, start: int, length: int) -> list[int]:
        """Return the cycle of each result's write."""
        m, latencies = self._machine, self._latencies
        first = start + self._operands(instruction, length) - 1 + latencies.drain + latencies.result
        return [
            first + j // m.units * length + j % m.units // m.writers
            for j in range(instruction.rows)
        ]
