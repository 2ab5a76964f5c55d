"""Predicted cycles of a token: the cycle in which every phase begins, at any position."""

from collections.abc import Sequence
from dataclasses import dataclass

from gptloom.firmware.isa import Destination, Instruction, Kind
from gptloom.firmware.latencies import FIRST, Latencies, update_cycles
from gptloom.firmware.machine import QUAD, Machine
from gptloom.firmware.schedule import Scheduled

EMIT = 2
"""Cycles from the sampled token to the next token's start."""

EMBED, SOFTMAX, SAMPLE, END = "embed", "softmax", "sample", "end"
"""Phases in which the MAC array waits."""


@dataclass(frozen=True)
class Phase:
    """A part of a token's time; it lasts until the next one.

    Attributes
    ----------
    name
        Phase of the site that the MAC array begins to multiply, or what the MAC array waits for.
    start
        Cycles after the token's start.
    """

    name: str
    start: int


@dataclass(frozen=True)
class Span:
    """An instruction's multiplications at one position.

    Attributes
    ----------
    scheduled
        The instruction.
    start
        First issue, in cycles after the token's start.
    passes, quads
        Issued operands: quad k of pass n in cycle ``start + n * length + k``.
    length
        Cycles from pass to pass.
    """

    scheduled: Scheduled
    start: int
    passes: int
    quads: int
    length: int

    @property
    def last_issue(self) -> int:
        """Cycle of the last multiplication."""
        return self.start + (self.passes - 1) * self.length + self.quads - 1

    @property
    def end(self) -> int:
        """Cycle in which the next instruction takes over."""
        return self.start + self.passes * self.length


def spans(schedule: Sequence[Scheduled], machine: Machine, position: int) -> list[Span]:
    """Return the time and shape of every instruction of a token.

    Parameters
    ----------
    schedule
        The program.
    machine
        Machine that runs it.
    position
        The token's position.
    """
    found: list[Span] = []
    free, read_back = FIRST, 0
    latencies = Latencies.of(machine)
    for scheduled in schedule:
        instruction = scheduled.instruction
        start = free + instruction.delay
        if instruction.kind is Kind.VALUES:
            # Positions are read back up to the end of a word of four. The check takes a cycle.
            cycles = 0 if machine.overlaps else (position // QUAD + 1) * QUAD
            ready = read_back + latencies.numerator + cycles + latencies.reciprocals
            start = max(start + 1, ready)
        span = Span(scheduled, start, *_shape(instruction, machine, position))
        if instruction.kind is Kind.SCORES:
            read_back = scores_read_back(span, machine, position)
        found.append(span)
        free = span.end
    return found


def scores_read_back(span: Span, machine: Machine, position: int) -> int:
    """Return the cycle in which the first of the span's scores is read again."""
    beat = position % machine.positions_per_pass // machine.score_positions
    return span.last_issue + beat + Latencies.of(machine).read_back


def timeline(schedule: Sequence[Scheduled], machine: Machine, position: int) -> list[Phase]:
    """Return a token's phases in order; the last one, ``END``, is where the next token starts.

    Parameters
    ----------
    schedule, machine, position
        See :func:`spans`.
    """
    latencies = Latencies.of(machine)
    phases = [Phase(EMBED, 0)]
    for span in spans(schedule, machine, position):
        instruction = span.scheduled.instruction
        # The start of the residual stream is hidden in the softmax's time.
        if instruction.destination is not Destination.RESIDUAL:
            phases.append(Phase(span.scheduled.step.site.phase, span.start))
        if instruction.kind is Kind.SCORES:
            phases.append(Phase(SOFTMAX, span.last_issue + 1))
    beat = (instruction.rows - 1) % machine.units // machine.writers
    written = span.last_issue + latencies.drain + beat + latencies.result
    phases.append(Phase(SAMPLE, span.end))
    sampled = written + latencies.sample
    if machine.recurrent:
        sampled = max(sampled, update_cycles(machine))
    phases.append(Phase(END, sampled + EMIT))
    return phases


def _shape(instruction: Instruction, machine: Machine, position: int) -> tuple[int, int, int]:
    """Return passes, quads and cycles from pass to pass."""
    passes, quads = instruction.passes, instruction.quads
    if instruction.kind is Kind.SCORES:
        passes = position * machine.passes_per_position // machine.positions_per_pass
        passes += machine.passes_per_position
        return passes, quads, max(quads, machine.score_beats)
    if instruction.kind is Kind.VALUES:
        quads = position // QUAD + 1
    return passes, quads, max(quads, machine.beats)
