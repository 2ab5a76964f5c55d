"""The picture of a comparison: all speeds in tokens/s, and each core's cycles by position."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from gptloom.boards.comparison import name

OURS, HERE, OTHERS = "GPTLoom at 80 MHz, one stream", "this machine's CPU", "peers"
_COLOURS = {OURS: "tab:blue", HERE: "tab:green", OTHERS: "tab:gray"}


class Bar(NamedTuple):
    """One bar: its label, whose it is, and tokens/s."""

    label: str
    whose: str
    tokens_per_second: float


def bars(figures: Mapping[str, Any]) -> Iterator[Bar]:
    """Yield a bar for everything with a speed, in the order listed."""
    for core in figures["cores"]:
        speed = figures["clock_mhz"] * 1e6 / core["cycles_per_token"]
        yield Bar(name(core), OURS, speed)
    for kind, whose in (("software", HERE), ("peers", OTHERS)):
        for line in figures[kind]:
            if line["tokens_per_second"]:
                label = line["name"]
                if whose is OTHERS:
                    label += f", {line['on']} ({line['figure']})"
                yield Bar(label, whose, line["tokens_per_second"])


def draw_speeds(figures: Mapping[str, Any]) -> bytes:
    """Return a PNG.

    Parameters
    ----------
    figures
        Figures from :func:`.compare`.
    """
    from matplotlib.figure import Figure

    shown = sorted(bars(figures), key=lambda bar: bar.tokens_per_second)
    figure = Figure(figsize=(15, 2 + len(shown) / 4), layout="constrained")
    speeds, cycles = figure.subplots(1, 2, width_ratios=(3, 2))
    for place, bar in enumerate(shown):
        speeds.barh(place, bar.tokens_per_second, color=_COLOURS[bar.whose])
        speeds.text(bar.tokens_per_second, place, f" {bar.tokens_per_second:,.0f}", va="center")
    speeds.set_yticks(range(len(shown)), [bar.label for bar in shown], fontsize="small")
    # From a tenth of the slowest, with room for numbers and legend.
    limits = shown[0].tokens_per_second / 10, shown[-1].tokens_per_second * 100
    speeds.set(xscale="log", xlim=limits, xlabel="tokens/s, one document after the other")
    speeds.margins(y=0.01)
    for whose, colour in _COLOURS.items():
        speeds.barh(0, 0, color=colour, label=whose)
    speeds.legend(loc="lower right")
    for core in figures["cores"]:
        cycles.plot(core["cycles_by_position"], "o-", ms=3, label=name(core))
    cycles.set(yscale="log", ylim=(10, 1000), xlabel="position", ylabel="cycles per token")
    cycles.xaxis.get_major_locator().set_params(integer=True)
    if figures["cores"]:
        cycles.legend(fontsize="small")
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=100)
    return content.getvalue()
