"""Pictures of what the KV cache is worth, and of what caches that evict cost."""

import io
from collections.abc import Mapping, Sequence
from importlib.util import find_spec

import numpy as np

from gptloom.model.errors import UserError
from gptloom.sim.cache_policies import PolicyFigures
from gptloom.sim.cache_speedup import PositionCycles, mean_speedup

_MEAN_OF = 32


def check_extra() -> None:
    """Raise :class:`.UserError` if the extra that draws is not installed."""
    if find_spec("matplotlib") is None:
        raise UserError("a plot needs matplotlib: run pip install 'gptloom[pictures]'")


def draw_speedup(measured: Mapping[str, Sequence[PositionCycles]]) -> bytes:
    """Return a PNG: cycles by position with and without the cache, a column for each core.

    Parameters
    ----------
    measured
        By the name of the core.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4 * len(measured), 4), layout="constrained")
    columns = figure.subplots(1, len(measured), squeeze=False)[0]
    for axes, (name, rows) in zip(columns, measured.items(), strict=True):
        positions = [row.position for row in rows]
        axes.plot(positions, [row.uncached for row in rows], "o-", label="computed anew")
        axes.plot(positions, [row.cached for row in rows], "o-", label="KV cache")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set(title=f"{name}: {mean_speedup(rows):.1f} times", xlabel="position", ylim=(0, None))
    columns[0].set_ylabel("cycles per token")
    columns[0].legend()
    return to_png(figure)


def draw_policies(measured: Sequence[PolicyFigures]) -> bytes:
    """Return a PNG: loss along streams of 512 tokens, for each cache."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.subplots()
    for number, figures in enumerate(measured):
        # Names differ more than caches: means of some positions tell these apart.
        means = np.convolve(figures.curve, np.full(_MEAN_OF, 1 / _MEAN_OF), "valid")
        places = np.arange(len(means)) + _MEAN_OF // 2
        label = f"{figures.policy}: {figures.losses[512]:.4f}"
        axes.plot(places, means, lw=1, ls=("-", "--", ":")[number % 3], label=label)
    axes.set(xlabel="position in the stream", ylabel=f"nats per token, mean of {_MEAN_OF}")
    figure.legend(loc="outside right upper", fontsize="small")
    return to_png(figure)


def to_png(figure) -> bytes:
    """Return a figure as the content of a PNG file."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=100)
    return content.getvalue()
