"""The picture of a sweep: speed against size, coloured by loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gptloom.boards.explore.point import FOLDED, UNROLLED, Outcome
from gptloom.boards.explore.sweep import front
from gptloom.sim.cache_plot import to_png

_MARKERS = {FOLDED: "o", UNROLLED: "s"}


def draw_front(
    outcomes: Sequence[Outcome],
    best: Sequence[Outcome],
    speed: Callable[[Outcome], int],
    title: str,
) -> bytes:
    """Return a PNG: tokens/s against lookup tables, both in powers of ten.

    Parameters
    ----------
    outcomes
        All usable outcomes; at least one.
    best
        Outcomes of the front, drawn with a black edge.
    speed
        Tokens/s of an outcome.
    title
        Title of the vertical axis.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4.8), layout="constrained")
    axes = figure.subplots()
    losses = [outcome.loss for outcome in outcomes]
    # The line considers speed and size only: for each point on it, nothing smaller is as fast.
    stairs = sorted((o.lut, speed(o)) for o in front(outcomes, lambda o: (o.lut, -speed(o))))
    axes.step(*zip(*stairs, strict=True), where="post", color="0.6", lw=1, zorder=1)
    for core, marker in _MARKERS.items():
        shown = [outcome for outcome in outcomes if outcome.point.core == core]
        if shown:
            points = axes.scatter(
                [outcome.lut for outcome in shown],
                [speed(outcome) for outcome in shown],
                c=[outcome.loss for outcome in shown],
                marker=marker,
                s=38,
                cmap="viridis_r",
                vmin=min(losses),
                vmax=max(losses),
                edgecolors=["black" if outcome in best else "none" for outcome in shown],
                label=core,
                zorder=2,
            )
    axes.set(xscale="log", yscale="log", xlabel="lookup tables", ylabel=title)
    axes.grid(which="major", color="0.9", zorder=0)
    axes.legend(title="black edge: Pareto front", fontsize="small", title_fontsize="small")
    figure.colorbar(points, label="held-out loss, nats per token")
    return to_png(figure)
