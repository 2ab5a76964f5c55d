"""The cores that are compared, and their cycles in simulation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from statistics import mean
from typing import Any

from gptloom.boards.measure import Open, run_folded, run_unrolled
from gptloom.firmware.machine import Machine
from gptloom.hdl.unrolled.shape import Shape
from gptloom.model.arithmetic import WEIGHT_BITS
from gptloom.model.checkpoint import load_checkpoint
from gptloom.model.merged.quantise import quantise as quantise_merged
from gptloom.model.merged.quantise import refined_widths
from gptloom.model.quantise import quantise

FOLDED = "names"
LANES = (8, 16, 32, 64)
UNROLLED = {
    "names-w6": Shape(bits_per_cycle=1, positions_per_cycle=1, heads_per_cycle=1),
    "names": Shape(),
    "names-w5": Shape(bits_per_cycle=4, positions_per_cycle=8),
}
"""Shapes by the checkpoint that is in the logic; ``boards/results.json`` has builds of them."""


def measure_folded_cores(lanes: Sequence[int], names: int, simulate: Open) -> Iterator[dict]:
    """Yield the figures of folded cores: cycles of a single stream by position, and their mean.

    Parameters
    ----------
    lanes
        Lanes of each core.
    names
        Number of names to generate.
    simulate
        Opens a simulation.

    Raises
    ------
    UserError
        If there is no core with this many lanes.
    MismatchError
        If a core's token is not the golden model's.
    """
    model = quantise(load_checkpoint(FOLDED))
    machines = [Machine.for_model(width, model) for width in lanes]
    for machine in machines:
        generation = run_folded(model, machine, names, simulate)
        yield {
            "core": "folded",
            "lanes": machine.lanes,
            "bits": WEIGHT_BITS,
            "streams": 1,
            "checkpoint": FOLDED,
            "tokens": generation.tokens,
            "cycles_per_token": round(generation.cycles_per_token, 6),
            "cycles_by_position": [round(c, 2) for c in generation.mean_by_position().values()],
            "integer_loss": model.metadata["integer_loss"],
        }


def measure_unrolled_cores(names: int, simulate: Open) -> Iterator[dict[str, Any]]:
    """Yield the figures of unrolled cores, including those of all streams together.

    The pipeline is full as on a board: a stream's very first token does not count. Parameters and
    errors are those of :func:`measure_folded_cores`.
    """
    for checkpoint, shape in UNROLLED.items():
        loaded = load_checkpoint(checkpoint)
        model = quantise_merged(loaded, refined_widths(loaded))
        core = shape.make(model)
        alone, together = run_unrolled(model, core, names, simulate)
        steady = replace(alone, emitted=alone.emitted[1:])
        yield {
            "core": "unrolled",
            "bits": model.widths.weights,
            "bits_per_cycle": shape.bits_per_cycle,
            "positions_per_cycle": shape.positions_per_cycle,
            "heads_per_cycle": shape.heads_per_cycle or model.config.heads,
            "streams": core.streams,
            "checkpoint": checkpoint,
            "tokens": alone.tokens + together.tokens,
            "cycles_per_token": round(mean(token.cycles for token in steady.emitted), 6),
            "cycles_per_token_of_all": round(together.steady_cycles_per_token, 6),
            "cycles_by_position": [round(c, 2) for c in steady.mean_by_position().values()],
            "integer_loss": model.metadata["integer_loss"],
        }
