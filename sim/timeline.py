"""A token's way through the unrolled core, drawn: what happens when, and what beside it."""

from __future__ import annotations

from dataclasses import dataclass

from gptloom.hdl.unrolled.core import UnrolledCore

STEP = 5
"""Cycles between the marks of the scale."""


@dataclass(frozen=True)
class Bar:
    """Something that lasts.

    Attributes
    ----------
    begin, end
        Cycles since the token's turn; the end is when it is done.
    text
        What it is.
    """

    begin: int
    end: int
    text: str


def bars(core: UnrolledCore) -> list[Bar]:
    """Return what happens to a token, in the order of the data."""
    at, beats = core.schedule, core.beats
    lap = core.streams * core.interval
    return [
        Bar(0, at.look_up, "turn: the sampled token, or a known one"),
        Bar(at.look_up, at.table, "table: q, k, v, own score"),
        Bar(at.table, at.scores + beats - 1, f"scores, q . k, {core.positions} positions a cycle"),
        Bar(at.scores, at.numerators + beats - 1, "largest score, then numerators 2**(score - it)"),
        Bar(at.numerators, at.sums + 1, "values times numerators, and their sums"),
        Bar(at.sums, at.mix, "mix: times the reciprocal of the numerators' sum"),
        Bar(at.mix, at.first, "first products, A1, Wo and A2; late table words beside them"),
        Bar(at.first, at.second, "second product, B"),
        Bar(at.root_begins, at.root, "root of the residual's energy"),
        Bar(
            at.offset_begins,
            at.offset,
            f"offset, (direct + noise) * root, {core.values_per_cycle} a cycle",
        ),
        Bar(at.choose, at.token, "noisy logits, the largest: the token"),
        *([Bar(at.token, lap, "until the stream's next turn")] if at.token < lap else []),
    ]


def draw(core: UnrolledCore) -> str:
    """Return the drawing, a character for each cycle."""
    found = bars(core)
    width = max(bar.end for bar in found)
    marks = "".join(f"{cycle:<{STEP}}" for cycle in range(0, width, STEP)).rstrip()
    scale = "".join("|" if cycle % STEP == 0 else "-" for cycle in range(width))
    lines = [f"cycle {marks}", f"      {scale}"]
    for bar in found:
        drawn = " " * bar.begin + "#" * (bar.end - bar.begin)
        lines.append(f"      {drawn:<{width}}  {bar.text}")
    return "\n".join(lines)
