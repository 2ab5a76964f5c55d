"""Pictures of the KV cache's speedup."""

import io
from collections.abc import Mapping, Sequence
from importlib.util import find_spec

from gptloom.model.errors import UserError
from gptloom.sim.cache_speedup import PositionCycles, mean_speedup


def check_extra() -> None:
    """Raise :class:`.UserError` if the extra for drawing is not installed."""
    if find_spec("matplotlib") is None:
        raise UserError("a plot needs matplotlib: run pip install 'gptloom[pictures]'")


def draw_speedup(measured: Mapping[str, Sequence[PositionCycles]]) -> bytes:
    """Return a PNG: cycles by position with and without the cache, a column per core.

    Parameters
    ----------
    measured
        Cycles by the name of the core.
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


def to_png(figure) -> bytes:
    """Return a figure as the content of a PNG file."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=100)
    return content.getvalue()
