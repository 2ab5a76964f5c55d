"""Comparison of hardware and golden model, value by value, up to their first difference."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product

from gptloom.firmware.layout import Layout
from gptloom.firmware.schedule import Scheduled
from gptloom.hdl.folded.core import FoldedCore
from gptloom.model.arithmetic import Integers
from gptloom.model.golden import Trace
from gptloom.model.sites import Becomes, Kind, Site


@dataclass(frozen=True)
class Written:
    """One value that the hardware wrote.

    Attributes
    ----------
    cycle
        Clock cycle of the write.
    site
        Site that it belongs to.
    element
        Index into the site's flattened value; for scores ``position * heads + head``.
    value
        The number.
    """

    cycle: int
    site: Site
    element: int
    value: int


@dataclass(frozen=True)
class Divergence:
    """The first difference: the hardware wrote another value than the golden model's `expected`."""

    written: Written
    expected: int

    def __str__(self) -> str:
        w = self.written
        return (
            f"layer {w.site.layer or 0}, {w.site.name}, element {w.element}, cycle {w.cycle}: "
            f"expected {self.expected}, seen {w.value}"
        )


def traced(traces: list[dict]) -> Trace:
    """Append a token's values to traces; return the golden model's trace, which fills them in."""
    values: dict[tuple[int, str], Integers] = {}
    traces.append(values)
    return lambda layer, site, value: values.__setitem__((layer, site), value)


def written_values(
    core: FoldedCore, schedule: list[Scheduled], layout: Layout, tap: list[int], first_cycle: int
) -> Iterator[Written]:
    """Decode the core's tap.

    Parameters
    ----------
    core
        The hardware, for the tap's layout.
    schedule, layout
        Program of the model under test.
    tap
        The tap's value in consecutive cycles.
    first_cycle
        Cycle of the first value.
    """
    shape, machine = core.tap.shape(), core.machine
    heads, table = layout.config.heads, layout.network
    # Scores do not name their layer: they belong to the values that were written last.
    attending = 0
    enabled = shape.const({"score_valid": 1, "result": {"enable": -1}}).as_bits()
    for cycle, bits in enumerate(tap, first_cycle):
        if not bits & enabled:
            continue
        value = shape.from_bits(bits)
        result = value.result
        if result.enable:
            number = result.operation
            embedded = number == machine.embedding_operation
            if embedded and machine.gated:
                # A row as it is stored, of which the first instruction makes the embedding.
                continue
            site = table.embedding if embedded else schedule[number].step.site
            if site.becomes is Becomes.VALUE:
                attending = site.layer
            order = layout.order(site)
            for i in range(machine.writers):
                if result.enable >> i & 1:
                    element = int(order[result.index + i])
                    if element >= 0:
                        yield Written(cycle, site, element, result["values"][i])
        if value.score_valid:
            site = table.of_kind(Kind.SOFTMAX if value.numerators else Kind.SCORES, attending)
            together = machine.softmax_positions if value.numerators else machine.score_positions
            for i, head in product(range(together), range(heads)):
                if value.heads >> head & 1:
                    element = (value.position + i) * heads + head
                    yield Written(cycle, site, element, value.scores[i][head])


def first_divergence(
    written: Iterable[Written], traces: Iterable[Mapping[tuple[int, str], Integers]]
) -> Divergence | None:
    """Return the first written value that differs from the golden model's, or None.

    Parameters
    ----------
    written
        Values that the hardware wrote, from the start of a token on.
    traces
        The golden model's values by layer and site, token by token; the comparison ends with them.
    """
    remaining = iter(traces)
    expected: Mapping[tuple[int, str], Integers] | None = None
    for item in written:
        if item.site.kind is Kind.EMBEDDING and item.element == 0:
            expected = next(remaining, None)
        if expected is None:
            return None
        values = expected[item.site.key].reshape(-1)
        # Numerators are written for whole words: positions to come are zero.
        right = int(values[item.element]) if item.element < len(values) else 0
        if right != item.value:
            return Divergence(item, right)
    return None
