"""Choice of a PLL's setting for a clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from gptloom.model.errors import UserError

if TYPE_CHECKING:
    from gptloom.boards.family import Pll

FARTHEST = 0.1
"""Largest relative deviation from the requested clock; beyond it the clock is refused."""


def within(hz: float, limits: tuple[float, float]) -> bool:
    """Return whether a frequency is within limits, both of them allowed."""
    return limits[0] <= hz <= limits[1]


def around(value: float) -> tuple[int, int]:
    """Return the two whole numbers around a value."""
    return int(value), int(value) + 1


def nearest(
    settings: Sequence[Pll],
    reference_hz: float,
    target_hz: float,
    preference: Callable[[Pll], object],
) -> Pll:
    """Return the setting nearest to a frequency; among equals, the preferred one.

    Raises
    ------
    UserError
        If none comes within 10 %.
    """
    best = min(settings, key=lambda pll: (abs(pll.hz - target_hz), preference(pll)), default=None)
    if best is None or abs(best.hz / target_hz - 1) > FARTHEST:
        raise UserError(
            f"the PLL cannot make {target_hz / 1e6:g} MHz from {reference_hz / 1e6:g} MHz: "
            "choose another clock, such as 80"
        )
    return best
