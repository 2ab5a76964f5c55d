"""Memories that an image fills, by their numbers on the load port."""

from enum import IntEnum


class Region(IntEnum):
    """Memories behind the load port."""

    OPERANDS = 0
    PROGRAM = 1
    TOKENS = 2
    POSITIONS = 3
    """Embeddings; on a recurrent machine each token's terms of the sums. None with ALiBi.

    Rotary positions have the speed of each pair.
    """
    PAGE = 4
    SETTINGS = 5
    EXPONENTS = 6
    """Exponents of rows, in the order of the program; those of embeddings are in `TOKENS`."""
    GAINS = 7
    """Gains of the last norm, two bytes each."""
    MODEL = 8
    """No memory: shape and widths in JSON, where the header has no room for them."""


CHECKED = (
    Region.OPERANDS,
    Region.PROGRAM,
    Region.TOKENS,
    Region.POSITIONS,
    Region.EXPONENTS,
    Region.GAINS,
)
"""Regions that the checksum covers, in its order: weights, scales, embeddings."""

COMMON = tuple(Region)[:6]
"""Regions that every family may have."""

NINTHS = 8
"""Lanes whose ninth bits are a byte, which precedes their eight lower bytes."""
