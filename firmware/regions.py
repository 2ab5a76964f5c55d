"""Memories that an image fills, by their numbers on the load port."""

from enum import IntEnum

from gptloom.firmware.machine import EXPONENT_ROW_BITS, LANE_BITS, SPEED_BYTES, Machine


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

LEAST_WORDS = 64
"""Words of the smallest table: a block RAM has more, and fewer would not tell one table's bits from
those of another where contents are replaced in a bitstream."""

GAIN_BYTES = 2
"""Bytes of a gain."""


def table_bytes(machine: Machine) -> dict[Region, int]:
    """Return the bytes of a word of every table that a machine has beside operands and program."""
    if machine.gated:
        exponents = EXPONENT_ROW_BITS * machine.writers // 8
        return {
            Region.TOKENS: exponents,
            Region.POSITIONS: SPEED_BYTES,
            Region.EXPONENTS: exponents,
            Region.GAINS: GAIN_BYTES * machine.writers,
        }
    positions = {Region.POSITIONS: machine.position_bytes} if machine.position_words else {}
    return {Region.TOKENS: machine.writers} | positions


def table_words(machine: Machine) -> dict[Region, int]:
    """Return the number of words of every table of :func:`table_bytes`."""
    row = machine.stream_elements // machine.writers
    if machine.gated:
        words = {
            Region.TOKENS: -(-machine.vocabulary // machine.writers),
            Region.POSITIONS: machine.position_words,
            Region.EXPONENTS: machine.exponent_words,
            Region.GAINS: row,
        }
        return {region: max(LEAST_WORDS, number) for region, number in words.items()}
    positions = {Region.POSITIONS: machine.position_words} if machine.position_words else {}
    return {Region.TOKENS: machine.vocabulary * row} | positions


def operand_stride(machine: Machine) -> int:
    """Return the bytes from an operand word to the next on the load port, a power of two.

    Nine bits take two bytes: see ``NINTHS``.
    """
    return machine.lanes * (2 if machine.lane_bits > LANE_BITS else 1)
