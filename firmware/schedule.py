"""When instructions may start: the pipeline's latencies, and the delays they ask for.

The core has no interlocks but one (``VALUES`` waits for the softmax): a program is correct because
its delays are. All times are cycles; the cycle in which a memory address is presented is an
operand's issue.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gptloom.firmware.isa import Destination, Instruction, Kind, Scale
from gptloom.firmware.layout import Layout
from gptloom.firmware.machine import QUAD

DRAIN = 7
"""From the last operand of a pass to its first results leaving the drain."""

RESULT = 5
"""From the drain to the result presented to a memory's write port."""

WRITE = 1
"""From a write port to the first issue that reads what was written."""

NORM = 6
"""From the last element of the residual stream to its norm, ready for the drain."""

EMBED = 2
"""From a token's start to the first sum of embeddings at a memory's write port."""


@dataclass(frozen=True)
class Step:
    """An instruction and what it computes: a site of :mod:`.model.integer` in a layer."""

    layer: int
    site: str
    instruction: Instruction


@dataclass(frozen=True)
class Slot:
    """A step's place in time, relative to the token's start.

    After ``SCORES`` times are relative to the present end of the scores: their number of passes
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
        # The first instruction is read in the cycle of the start.
        self._free = 1
        # Issue cycle from which each quad of an activation region can be read.
        self._quads: dict[int, list[int]] = {}
        self._keys = 0
        # Issue from which the last operand of a pass finds the drain empty.
        self._drain = 0
        self._embed()

    def schedule(self, program: Sequence[Step]) -> list[Slot]:
        """Return the steps of one token with their delays filled in."""
        slots = []
        for step in program:
            instruction = step.instruction
            start = max(self._free, self._earliest(instruction))
            passes, length = self._shape(instruction)
            finish = start + passes * length
            placed = replace(instruction, delay=start - self._free)
            if instruction.kind is Kind.VALUES:
                placed = replace(instruction, delay=0)
            slots.append(Slot(replace(step, instruction=placed), start, finish))
            self._retire(placed, start, passes, length)
            self._free = finish
        return slots

    def _embed(self) -> None:
        writers = self._machine.writers
        elements = range(self._layout.config.width)
        written = [EMBED + j // writers + WRITE for j in elements]
        self._quads[self._layout.stream] = written[QUAD - 1 :: QUAD]
        self._norm = written[-1] - WRITE + NORM

    def _shape(self, instruction: Instruction) -> tuple[int, int]:
        """Return passes and cycles from pass to pass, at the position hardest to serve."""
        m = self._machine
        if instruction.kind is Kind.SCORES:
            return m.words_per_position, max(instruction.quads, m.score_beats)
        if instruction.kind is Kind.VALUES:
            # More positions make passes longer, which only brings early passes further ahead.
            return instruction.passes, m.beats
        return instruction.passes, max(instruction.quads, m.beats)

    def _earliest(self, instruction: Instruction) -> int:
        bounds = [self._drain - (max(instruction.quads, 1) - 1)]
        if instruction.kind is Kind.MATRIX:
            ready = self._quads[instruction.source]
            bounds += [cycle - quad for quad, cycle in enumerate(ready[: instruction.quads])]
        if instruction.kind is Kind.SCORES:
            heads = self._machine.heads
            ready = self._quads[instruction.source]
            bounds += [cycle - quad // heads for quad, cycle in enumerate(ready)]
            bounds.append(self._keys)
        if instruction.scale is Scale.NORM:
            quads = max(instruction.quads, 1)
            bounds.append(self._norm - DRAIN - (quads - 1))
        return max(bounds)

    def _retire(self, instruction: Instruction, start: int, passes: int, length: int) -> None:
        m = self._machine
        # VALUES may use its whole pass; every other instruction has its own number of quads.
        quads = length if instruction.kind is Kind.VALUES else max(instruction.quads, 1)
        beats = m.score_beats if instruction.kind is Kind.SCORES else m.beats
        self._drain = start + (passes - 1) * length + quads - 1 + beats
        written = [
            start + j // m.units * length + quads - 1 + DRAIN + j % m.units // m.writers + RESULT
            for j in range(instruction.rows)
        ]
        readable = [cycle + WRITE for cycle in written]
        if instruction.destination in (Destination.ACTIVATION, Destination.STREAM):
            whole = readable[QUAD - 1 :: QUAD]
            self._quads[instruction.target] = whole
        if instruction.destination is Destination.STREAM:
            self._norm = written[-1] + NORM
        if instruction.destination is Destination.KEY:
            self._keys = readable[-1]
