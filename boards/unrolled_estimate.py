"""What a build of the unrolled core will come to, before anyone waits for it.

Multipliers, block RAM and cycles are exact. Of lookup tables and flip-flops those of the constant
products are planned, which is nearly exact, and the rest is a model's.
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
"""Lookup tables of an :class:`.ArrayMultiplier` of factors of 8 bits; with narrower keys or values
it is as much smaller as their digits are fewer."""

LUT_OF_ELEMENT, LUT_OF_POSITION = 56, 191
FF_OF_PRODUCT, FF_OF_ELEMENT, FF_OF_POSITION = 0.24, 89, 212
"""Of every element of residual, hidden layer and outputs, of every element of the positions that
attention sees in a cycle, and of every lookup table of the products: made to fit whole tops of one
layer with 1, 4 and 8 positions and 1, 2 and 4 bits per cycle, which they do within 8 %."""


@dataclass(frozen=True)
class UnrolledEstimate(Needs):
    """One unrolled core on one board.

    Attributes
    ----------
    bits, key_bits, value_bits
        Of a weight, and of what is cached.
    shape, heads_per_cycle, streams, interval
        Of the core.
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
    """Return what an unrolled core comes to on a board; it takes some ten seconds.

    Parameters
    ----------
    board
        Its entry in the table.
    model, shape
        The core.
    mhz
        Another clock than the entry's.

    Raises
    ------
    UserError
        If there is no such core, not on this board, or not at this clock.
    """
    clock_hz = board.pll(mhz).hz
    target, config = target_of(board), model.config
    # The same but for what multiplies: its products are elaborated sooner.
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
