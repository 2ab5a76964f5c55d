"""A token's way through the unrolled core, drawn: each step in time, and those parallel to it."""

from __future__ import annotations

from dataclasses import dataclass

from gptloom.hdl.unrolled.core import ENTERING, UnrolledCore

STEP = 5
"""Cycles between the marks of the scale."""


@dataclass(frozen=True)
class Bar:
    """A step with a duration.

    Attributes
    ----------
    begin, end
        Cycles since the token's turn; the step is done at its end.
    text
        Description of the step.
    """

    begin: int
    end: int
    text: str


def bars(core: UnrolledCore) -> list[Bar]:
    """Return the steps of a token, in the order of the data."""
    begin, lap = core.schedules[0].begin, core.streams * core.interval
    found = [
        Bar(0, ENTERING, "turn: the sampled token, or a known one"),
        Bar(ENTERING, begin, "table: q, k, v, own score"),
    ]
    for layer, at in enumerate(core.schedules):
        if layer:
            done = core.schedules[layer - 1].done
            found.append(Bar(done, at.begin, f"layer {layer}: stream, its norm, q, k, v"))
        found += _bars_of(core, layer)
    found.append(Bar(core.schedules[-1].done, core.length, "noisy logits, the largest: the token"))
    if core.length < lap:
        found.append(Bar(core.length, lap, "until the stream's next turn"))
    return found


def _bars_of(core: UnrolledCore, layer: int) -> list[Bar]:
    at, beats = core.schedules[layer], core.beats
    lanes = core.finishes[layer].values_per_cycle
    is_last = layer == len(core.schedules) - 1
    offset = "(direct + noise) * root" if is_last else "direct * root"
    late = "beside them F x and D x" if layer else "late table words beside them"
    return [
        Bar(at.begin, at.scores + beats - 1, f"scores, q . k, {core.positions} positions a cycle"),
        Bar(at.scores, at.numerators + beats - 1, "largest score, then numerators 2**(score - it)"),
        Bar(at.numerators, at.sums + 1, "values times numerators, and their sums"),
        Bar(at.sums, at.mix, "mix: times the reciprocal of the numerators' sum"),
        Bar(at.mix, at.first, f"first products, A1, Wo and A2; {late}"),
        Bar(at.first, at.second, "second product, B"),
        Bar(at.root_begins, at.root, "root of the residual's energy"),
        Bar(at.offset_begins, at.offset, f"offset, {offset}, {lanes} a cycle"),
    ]


def draw(core: UnrolledCore) -> str:
    """Return the drawing, a character per cycle."""
    found = bars(core)
    width = max(bar.end for bar in found)
    marks = "".join(f"{cycle:<{STEP}}" for cycle in range(0, width, STEP)).rstrip()
    scale = "".join("|" if cycle % STEP == 0 else "-" for cycle in range(width))
    lines = [f"cycle {marks}", f"      {scale}"]
    for bar in found:
        drawn = " " * bar.begin + "#" * (bar.end - bar.begin)
        lines.append(f"      {drawn:<{width}}  {bar.text}")
    return "\n".join(lines)
