"""Latencies of the folded core's pipeline, in cycles.

An operand's issue is the cycle in which its memory address is presented.
"""

from dataclasses import dataclass, replace

from gptloom.firmware.machine import Machine
from gptloom.model.positions import Positions

FIRST = 3
"""Cycles from a token's start to its first issue: the instruction is decoded, then taken."""

NOISE = 3
"""Cycles from a token's start until its first noise value can be read; one more per value."""

WRITE = 1
"""Cycles from a write port to the first issue that reads the written value."""


def operand_latency(machine: Machine) -> int:
    """Return the cycles from an issue until its operands leave their memory."""
    return 1 + machine.gated


@dataclass(frozen=True)
class Latencies:
    """Cycles that depend on the machine.

    Attributes
    ----------
    drain
        From the last operand of a pass until its first results leave the drain.
    result
        From the drain until the result is presented to a memory's write port.
    norm
        From the last element of the residual stream to its norm.
    scale
        From the drain until a norm has to be ready for its results.
    embed
        From a token's start to the first sum of embeddings at a memory's write port.
    score
        From a score leaving the drain to its write.
    numerator
        From the read of a position's scores to the write of its numerators.
    reciprocals
        From the last numerator until the mix may begin, so that it finds one over every head's sum:
        these come head by head, and in time by themselves if the drain emits one result a cycle.
        If the mix overlaps the softmax, from the write of the first numerators to its first issue.
    sample
        From the last logits to the sampled token.
    turn
        From a token's start until all angles of its position are ready for write-back.
    sums
        On a recurrent machine, from a token's start until the sums of its own query and one over
        them are ready for the drain.
    """

    drain: int = 7
    result: int = 5
    norm: int = 6
    scale: int = 0
    embed: int = 2
    score: int = 1
    numerator: int = 5
    reciprocals: int = 0
    sample: int = 3
    turn: int = 0
    sums: int = 0

    @property
    def read_back(self) -> int:
        """From the scores' last issue until the first is read back, but for the drain's beat."""
        return self.drain + self.score + 1

    @classmethod
    def of(cls, machine: Machine) -> "Latencies":
        """Return the latencies of a machine."""
        found = cls(norm=7) if machine.writers > 1 else cls()
        if machine.deep:
            found = _DEEP
        if machine.overlaps:
            found = replace(found, reciprocals=max(0, machine.heads // 4 - 1))
        elif machine.writers > 1:
            found = replace(found, reciprocals=max(0, machine.heads - 4))
        if machine.gated:
            # Sums are shifted, or the stream multiplied by gains, in two cycles before they are
            # scaled, and functions take a cycle more. A token's embedding is read from the
            # operands. Squares need no partial products.
            embed = 5 + operand_latency(machine)
            found = replace(
                found, drain=6, result=8, embed=embed, norm=6, scale=1, turn=12 + machine.head_width
            )
        if machine.recurrent:
            # The token's values are read, then query and head of all sums, its own query first.
            return replace(
                found, sums=10 + machine.value_words + machine.heads - 1 + 2 * machine.deep
            )
        if machine.positions is Positions.ALIBI:
            # Penalties are subtracted from scores.
            found = replace(found, score=found.score + 1)
        return found


def flush_cycles(machine: Machine) -> int:
    """Return the cycles from a program's last issue until all its results are written."""
    latencies = Latencies.of(machine)
    return latencies.drain + latencies.result + WRITE + machine.beats


def update_cycles(machine: Machine) -> int:
    """Return the cycles from a token's start to its earliest end, on a recurrent machine.

    The next token, which begins two cycles later, then finds all sums updated.
    """
    return machine.vocabulary * machine.heads + max(4, machine.value_words - 1)


_DEEP = Latencies(drain=9, result=11, norm=11, embed=3, score=2, numerator=5, sample=3)


def longest_delay(machine: Machine) -> int:
    """Return the most cycles that an instruction may have to wait, for results or for noise."""
    latencies = Latencies.of(machine)
    embedding = latencies.embed + machine.stream_elements // machine.writers + latencies.turn
    results = latencies.drain + latencies.result + WRITE + max(machine.beats, machine.score_beats)
    noise = NOISE + machine.vocabulary if machine.writers > 1 else 0
    sums = max(latencies.sums, embedding) if machine.recurrent else 0
    return max(embedding, results, noise, sums) + latencies.norm
