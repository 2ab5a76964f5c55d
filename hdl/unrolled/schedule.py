"""Timing of a layer of the unrolled core."""

from dataclasses import dataclass

from gptloom.hdl.unrolled.attention import Steps
from gptloom.hdl.unrolled.finish import FinishSteps


@dataclass(frozen=True)
class Schedule:
    """Cycles from the turn in which a token enters to its results in a layer.

    Attributes
    ----------
    begin
        The token's row is valid.
    scores, numerators, sums, mix
        See :class:`.attention.Steps`.
    first, root_begins, root, offset_begins, offset, second, done
        See :class:`.FinishSteps`.
    """

    begin: int
    scores: int
    numerators: int
    sums: int
    mix: int
    first: int
    root_begins: int
    root: int
    offset_begins: int
    offset: int
    second: int
    done: int

    @classmethod
    def of(cls, begin: int, attention: Steps, finish: FinishSteps) -> "Schedule":
        """Return the schedule of a layer, from its begin and the latencies of its parts."""
        mix = begin + attention.mix
        return cls(
            begin,
            **{name: begin + cycles for name, cycles in attention._asdict().items()},
            **{name: mix + cycles for name, cycles in finish._asdict().items()},
        )
