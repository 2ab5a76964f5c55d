"""Estimate of a build of the unrolled core, before anyone waits for it.

Multipliers, block RAM and cycles are exact. Lookup tables and flip-flops of the constant products
are planned, which is nearly exact; those of the rest come from a model.
"""

from __future__ import annotations

from dataclasses import dataclass

from gptloom.boards.board import Board
from gptloom.boards.estimate import CLOCK_HZ, Needs
from gptloom.boards.memories import find_memories, place_all
from gptloom.boards.unrolled import make_top, target_of
from gptloom.hdl.unrolled.core import UnrolledCore
from gptloom.hdl.unrolled.shape import Shape
from gptloom.model.arithmetic import WEIGHT_BITS
from gptloom.model.merged.integer import MergedModel

LUT_OF_ARRAY = 86
"""Lookup tables of an :class:`.ArrayMultiplier` with 8-bit factors; with narrower keys or values it
shrinks in proportion to their digits."""

LUT_OF_ELEMENT, LUT_OF_POSITION = 56, 191
FF_OF_PRODUCT, FF_OF_ELEMENT, FF_OF_POSITION = 0.24, 89, 212
"""Lookup tables and flip-flops per element of residual, hidden layer and outputs, per element of
the positions that attention reads in a cycle, and flip-flops per lookup table of the products:
fitted to whole tops of one layer with 1, 4 and 8 positions and 1, 2 and 4 bits per cycle, which
they match within 8 %."""


@dataclass(frozen=True)
class UnrolledEstimate(Needs):
    """One unrolled core on one board.

    Attributes
    ----------
    bits, key_bits, value_bits
        Bits of a weight, of a cached key and of a cached value.
    shape, heads_per_cycle, streams, interval
        Dimensions of the core.
    """

    bits: int
    key_bits: int
    value_bits: int
    shape: Shape
    heads_per_cycle: int
    streams: int
    interval: int

    @property
    def aggregate_tokens_per_second(self) -> int:
        """Tokens/s of all streams together, at the PLL's clock."""
        return round(self.clock_hz / self.interval)

    def as_dict(self) -> dict:
        """Return the figures under the names that a build's report has."""
        return {
            **super().as_dict(),
            "core": "unrolled",
            "bits": self.bits,
            "bits_per_cycle": self.shape.bits_per_cycle,
            "positions_per_cycle": self.shape.positions_per_cycle,
            "heads_per_cycle": self.heads_per_cycle,
            "streams": self.streams,
            "key_bits": self.key_bits,
            "value_bits": self.value_bits,
            "aggregate_tokens_per_second": self.aggregate_tokens_per_second,
        }


def estimate_unrolled(
    board: Board, model: MergedModel, shape: Shape, mhz: float | None = None
) -> UnrolledEstimate:
    """Return the estimate of an unrolled core on a board; it takes some ten seconds.

    Parameters
    ----------
    board
        Its entry in the table.
    model, shape
        The core.
    mhz
        Clock frequency, if not the entry's own.

    Raises
    ------
    UserError
        If there is no such core at all, on this board, or at this clock.
    """
    clock_hz = board.pll(mhz).hz
    target, config = target_of(board), model.config
    # The same core, but with ordinary multipliers, which are elaborated sooner.
    core = shape.make(model)
    cells = target.multipliers(core.factors, core.other_cells).count(target.cell)
    memories = find_memories(make_top(board, model, core, CLOCK_HZ))
    return UnrolledEstimate(
        board=board,
        used={
            **_size(core, model, cells),
            "dsp": cells + core.other_cells,
            "bram": place_all(memories, board.family.rams).blocks,
        },
        available=board.capacity,
        cycles_per_token=core.streams * core.interval,
        clock_hz=clock_hz,
        bits=model.widths.weights,
        key_bits=model.widths.keys,
        value_bits=model.widths.values,
        shape=shape,
        heads_per_cycle=shape.heads_per_cycle or config.heads,
        streams=core.streams,
        interval=core.interval,
    )


def _size(core: UnrolledCore, model: MergedModel, cells: int) -> dict[str, int]:
    config, products = model.config, sum(product.cells for product in core.products)
    elements = sum(config.width + config.hidden + len(layer.weights["b"]) for layer in model.layers)
    seen = len(model.layers) * core.positions * config.width
    narrower = (model.widths.keys + model.widths.values) / (2 * WEIGHT_BITS)
    arrays = (core.factors - cells) * narrower
    lut = products + LUT_OF_ARRAY * arrays + LUT_OF_ELEMENT * elements + LUT_OF_POSITION * seen
    ff = FF_OF_PRODUCT * products + FF_OF_ELEMENT * elements + FF_OF_POSITION * seen
    return {"lut": round(lut), "ff": round(ff)}
