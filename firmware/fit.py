"""Limits of the folded core: whether it can have a model at all is decided only here.

Widths of the hardware follow from the machine (:class:`.Machine`, :class:`.InstructionLayout`), so
these are not the limits of today's parts: :mod:`.boards.estimate` tells what a part holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gptloom.firmware.machine import QUAD
from gptloom.model.errors import UserError

if TYPE_CHECKING:
    from gptloom.model.config import ModelConfig

MOST = {
    "layers": 16,
    "width": 1024,
    "heads": 16,
    "hidden": 1024,
    "context": 1024,
    "vocabulary": 4096,
}
"""Largest dimensions, by their names in :class:`.ModelConfig`. Ports for tokens, positions and
addresses take their widths from here, so that all cores have the same interface."""

IN_QUADS = ("width", "hidden", "context")
"""Dimensions that the MAC array consumes four at a time."""

ADDRESS_BITS = 28
"""Width of a byte address on the load port; the largest model's weights, keys and values fit."""


def check_shape(config: ModelConfig) -> None:
    """Refuse a shape that no folded core computes, with any number of lanes.

    Raises
    ------
    UserError
        Naming the dimension that does not fit, by how much, and what would fit.
    """
    for name, most in MOST.items():
        size = getattr(config, name)
        if size > most:
            raise UserError(
                f"{name} {size} is {size - most} more than a folded core can have: use at most "
                f"{most}"
            )
    for name in IN_QUADS:
        size = getattr(config, name)
        if size % QUAD:
            below = size // QUAD * QUAD
            near = f"{below} or {below + QUAD}" if below else str(QUAD)
            raise UserError(f"{name} {size} does not divide into fours: use {near}")
