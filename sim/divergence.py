"""Hardware against golden model, value by value: where they first differ."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from gptloom.firmware.layout import Layout
from gptloom.firmware.schedule import Slot
from gptloom.hdl.folded.core import FoldedCore
from gptloom.hdl.folded.layouts import OPERATION_BITS
from gptloom.model.arithmetic import Integers
from gptloom.model.golden import Trace

EMBEDDING = (1 << OPERATION_BITS) - 1
"""Operation number of the embedding's results."""


@dataclass(frozen=True)
class Written:
    """One value that the hardware wrote.

    Attributes
    ----------
    cycle
        Clock cycle of the write.
    layer, site
        What it is, as the golden model's trace names it.
    element
        Index into the site's flattened value; for scores ``position * heads + head``.
    value
        The number.
    """

    cycle: int
    layer: int
    site: str
    element: int
    value: int


@dataclass(frozen=True)
class Divergence:
    """The first difference: the hardware wrote `seen` where the golden model has `expected`."""

    written: Written
    expected: int

    def __str__(self) -> str:
        w = self.written
        return (
            f"layer {w.layer}, {w.site}, element {w.element}, cycle {w.cycle}: "
            f"expected {self.expected}, seen {w.value}"
        )


def traced(traces: list[dict]) -> Trace:
    """Add a token's values to some traces, and return what receives them from the golden model."""
    values: dict[tuple[int, str], Integers] = {}
    traces.append(values)
    return lambda layer, site, value: values.__setitem__((layer, site), value)


def written_values(
    core: FoldedCore, slots: list[Slot], layout: Layout, tap: list[int], first_cycle: int
) -> Iterator[Written]:
    """Decode the core's tap.

    Parameters
    ----------
    core
        The hardware, for the tap's layout.
    slots, layout
        Program of the model under test.
    tap
        The tap's value in consecutive cycles.
    first_cycle
        Cycle of the first one.
    """
    shape = core.tap.shape()
    heads = layout.config.heads
    # Scores do not name their layer: they belong to the values that were written last.
    attending = 0
    for cycle, bits in enumerate(tap, first_cycle):
        value = shape.from_bits(bits)
        result = value.result
        if result.enable:
            layer, site = 0, "embedding"
            if result.operation != EMBEDDING:
                step = slots[result.operation].step
                layer, site = step.layer, step.site
                if site == "v":
                    attending = layer
            order = _order(layout, site)
            for i in range(core.machine.writers):
                if result.enable >> i & 1:
                    j = result.index + i
                    element = int(order[j]) if order is not None else j
                    if element >= 0:
                        yield Written(cycle, layer, site, element, result["values"][i])
        if value.score_valid:
            site = "numerator" if value.numerators else "score"
            for head in range(heads):
                if value.heads >> head & 1:
                    element = value.position * heads + head
                    yield Written(cycle, attending, site, element, value.scores[head])


def first_divergence(
    written: Iterable[Written], traces: Iterable[Mapping[tuple[int, str], Integers]]
) -> Divergence | None:
    """Return the first written value that is not the golden model's, or None.

    Parameters
    ----------
    written
        What the hardware wrote, from the start of a token on.
    traces
        The golden model's values by layer and site, token by token; the comparison ends with them.
    """
    remaining = iter(traces)
    expected: Mapping[tuple[int, str], Integers] | None = None
    for item in written:
        if item.site == "embedding" and item.element == 0:
            expected = next(remaining, None)
        if expected is None:
            return None
        values = expected[item.layer, item.site].reshape(-1)
        # Numerators are written for whole words: positions to come are zero.
        right = int(values[item.element]) if item.element < len(values) else 0
        if right != item.value:
            return Divergence(item, right)
    return None


def _order(layout: Layout, site: str) -> np.ndarray | None:
    if site in ("q", "k"):
        return layout.query_order
    if site in ("v", "mix"):
        return layout.value_order
    return None
