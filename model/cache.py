"""The KV cache: which rows are kept, and which one makes room.

A cache has so many rows. As long as there are free ones every token gets the next; then it depends
on the eviction:

- ``none``: the document is at its end.
- ``window``: the oldest row makes room, so that the last tokens are kept, in a ring. The rows of
  the first tokens, the sinks, may be kept for ever. (G. Xiao et al., "Efficient Streaming
  Language Models with Attention Sinks", 2023.)
- ``attention``: the row makes room that was attended least lately. (Z. Zhang et al., "H2O:
  Heavy-Hitter Oracle for Efficient Generative Inference of Large Language Models", 2023, whose
  sums do not fade.) Its mass fades by 1/16 with every token, and grows by the numerators of all
  heads and layers; a new row begins with what the heads of one layer could give it at most, so
  that it has time to be of use.
- ``recurrent``: there are no rows, but sums over everything that was: :mod:`.recurrent`.
"""

from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from gptloom.model.arithmetic import MANTISSA_BITS, Integers
from gptloom.model.errors import UserError

if TYPE_CHECKING:
    from gptloom.model.config import ModelConfig

FADE = 4
"""A row's mass loses ``2**-FADE`` of itself with every token."""


class Eviction(StrEnum):
    """Which row makes room when all are taken."""

    NONE = "none"
    WINDOW = "window"
    ATTENTION = "attention"
    RECURRENT = "recurrent"


MASS_BITS = 16
"""A mass saturates at this width, unsigned; two layers of four heads do not reach it."""


def first_mass(heads: int) -> int:
    """Return the mass of a new row: that of one which all heads of a layer always attend most."""
    return heads << MANTISSA_BITS + FADE


class KVCache:
    """Keys, values and what is known of the rows, for a batch of documents at the same position.

    Parameters
    ----------
    config
        Its context are the rows.
    batch
        Documents.

    Attributes
    ----------
    keys, values
        [layers, batch, rows, width], 8-bit.
    born
        Position of every row's token, [batch, rows]; -1 where there is none.
    mass
        Of eviction by attention, [batch, rows].
    evicted
        Rows that made room, of each document.
    """

    def __init__(self, config: "ModelConfig", batch: int):
        shape = (config.layers, batch, config.context, config.width)
        self.keys = np.zeros(shape, np.int64)
        self.values = np.zeros(shape, np.int64)
        self.born = np.full((batch, config.context), -1, np.int64)
        self.mass = np.zeros((batch, config.context), np.int64)
        self.evicted = 0
        self._config = config

    def admit(self, position: int) -> Integers:
        """Make room for the tokens of a position, the next one, and return their rows: [batch].

        Raises
        ------
        UserError
            If there is no room and nothing to be evicted.
        """
        c, rows = self._config, np.full(len(self.born), position)
        if position >= c.context:
            if c.eviction is Eviction.NONE:
                raise UserError(
                    f"Position {position} is outside the context: use 0 to {c.context - 1}."
                )
            if c.eviction is Eviction.WINDOW:
                rows[:] = c.sinks + (position - c.sinks) % (c.context - c.sinks)
            else:
                rows = self.mass.argmin(axis=1)
            self.evicted += 1
        every = np.arange(len(rows))
        self.born[every, rows] = position
        self.mass -= self.mass >> FADE
        self.mass[every, rows] = first_mass(c.heads)
        return rows

    def attend(self, numerators: Integers) -> None:
        """Remember what a layer attended: [batch, occupied rows, heads]."""
        used = self.mass[:, : numerators.shape[1]]
        used[:] = np.minimum(used + numerators.sum(axis=-1), (1 << MASS_BITS) - 1)

    @property
    def occupied(self) -> int:
        """Rows in use; they are the first ones."""
        return int((self.born[0] >= 0).sum())


def seen_at_once(config: "ModelConfig", time: int) -> np.ndarray:
    """Return which keys each of the first positions sees, [time, time], if that is known ahead.

    Raises
    ------
    ValueError
        If it depends on the document.
    """
    if config.eviction is Eviction.ATTENTION:
        raise ValueError("what attention evicts is not known ahead")
    position, key = np.arange(time)[:, None], np.arange(time)
    kept = (position - key < config.context - config.sinks) | (key < config.sinks)
    return (key <= position) & (kept | (config.eviction is Eviction.NONE))
