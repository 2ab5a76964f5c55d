"""A point of a sweep, and its outcome. All processes import this: it imports nothing slow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any
from zlib import crc32

FOLDED, UNROLLED = "folded", "unrolled"
"""The cores."""


@dataclass(frozen=True)
class Point:
    """One core of one model on one board; equal points have equal results.

    Attributes
    ----------
    board
        Its name in the table.
    core
        ``folded`` or ``unrolled``.
    checkpoint, digest
        The model: its name, and a checksum of its contents.
    bits
        Bits of a weight.
    lanes
        Folded: multipliers of the MAC array.
    bits_per_cycle, positions, heads_per_cycle
        Unrolled: see :class:`gptloom.hdl.unrolled.shape.Shape`.
    seed
        Seed of the placement; None for an estimate.
    """

    board: str
    core: str
    checkpoint: str
    digest: str
    bits: int
    lanes: int | None = None
    bits_per_cycle: int | None = None
    positions: int | None = None
    heads_per_cycle: int | None = None
    seed: int | None = None

    @property
    def key(self) -> str:
        """Unique name of the point: its board and core, and a checksum of all attributes."""
        checksum = crc32(repr(sorted(asdict(self).items())).encode())
        return f"{self.board}-{self.core}-{checksum:08x}"

    def describe(self) -> str:
        """Return the core in a few words; its bits, positions and heads are per cycle."""
        if self.core == FOLDED:
            made = f"{self.lanes} lanes"
        else:
            made = (
                f"{self.bits}-bit weights, {self.bits_per_cycle} x {self.positions} x "
                f"{self.heads_per_cycle} a cycle"
            )
        placed = "" if self.seed is None else f", seed {self.seed}"
        return f"{self.core}, {made}{placed}"


@dataclass(frozen=True)
class Outcome:
    """A finished point.

    Attributes
    ----------
    point
        The point.
    figures
        Figures as ``gptloom estimate`` or ``gptloom build`` report them; empty for a core that
        cannot be made.
    reason
        Reason why it is of no use; None if it is usable.
    seconds
        Seconds that it took.
    """

    point: Point
    figures: Mapping[str, Any] = field(default_factory=dict)
    reason: str | None = None
    seconds: float = 0.0

    @property
    def tokens_per_second(self) -> int:
        """Tokens/s of a single stream."""
        return self.figures["tokens_per_second"]

    @property
    def all_tokens_per_second(self) -> int:
        """Tokens/s of all streams together; the folded core has one."""
        return self.figures.get("aggregate_tokens_per_second") or self.tokens_per_second

    @property
    def lut(self) -> int:
        """Lookup tables of the whole top."""
        return self.figures["lut"]

    @property
    def loss(self) -> float:
        """Held-out loss of the integer model, nats per token."""
        return self.figures["integer_loss"]
