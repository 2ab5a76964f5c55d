"""What a token costs, predicted: the cycle in which every phase begins, at any position."""

from collections.abc import Sequence
from dataclasses import dataclass

from gptloom.firmware.isa import Instruction, Kind
from gptloom.firmware.machine import QUAD, Machine
from gptloom.firmware.schedule import FIRST, Latencies, Slot

EMIT = 2
"""From the sampled token to the next token's start."""


@dataclass(frozen=True)
class Phase:
    """A part of a token's time; it lasts until the next one.

    Attributes
    ----------
    site
        What the engine begins to multiply; ``embed``, ``softmax``, ``sample`` and ``end`` are what
        it waits for.
    start
        Cycles after the token's start.
    """

    site: str
    start: int


def timeline(slots: Sequence[Slot], machine: Machine, position: int) -> list[Phase]:
    """Return a token's phases in order; the last one, ``end``, is where the next token starts.

    Parameters
    ----------
    slots
        The program.
    machine
        What it runs on.
    position
        The token's position.
    """
    latencies = Latencies.of(machine)
    phases = [Phase("embed", 0)]
    free, scores_written, written = FIRST, 0, 0
    for slot in slots:
        instruction = slot.instruction
        passes, quads, length = _shape(instruction, machine, position)
        start = free + instruction.delay
        if instruction.kind is Kind.VALUES:
            # One position a cycle is read back, whole words of four. Looking takes a cycle.
            words = position // QUAD + 1
            start = max(start + 1, scores_written + latencies.numerator + words * QUAD)
        last_issue = start + (passes - 1) * length + quads - 1
        if instruction.kind is Kind.SCORES:
            beat = position % machine.positions_per_word
            scores_written = last_issue + latencies.drain + beat + latencies.score + 1
        if instruction.final:
            beat = (instruction.rows - 1) % machine.units // machine.writers
            written = last_issue + latencies.drain + beat + latencies.result
        # The start of the residual stream hides in the softmax's time.
        if instruction.kind is not Kind.START:
            phases.append(Phase(slot.step.site, start))
        if instruction.kind is Kind.SCORES:
            phases.append(Phase("softmax", last_issue + 1))
        free = start + passes * length
    phases.append(Phase("sample", free))
    phases.append(Phase("end", written + latencies.sample + EMIT))
    return phases


def _shape(instruction: Instruction, machine: Machine, position: int) -> tuple[int, int, int]:
    """Return passes, quads and cycles from pass to pass."""
    passes, quads = instruction.passes, instruction.quads
    if instruction.kind is Kind.SCORES:
        passes = position * machine.words_per_position // machine.positions_per_word
        passes += machine.words_per_position
        return passes, quads, max(quads, machine.score_beats)
    if instruction.kind is Kind.VALUES:
        quads = position // QUAD + 1
    return passes, quads, max(quads, machine.beats)
