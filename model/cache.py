"""The KV cache: the rows that are kept, and the one that makes room.

A cache has a fixed number of rows. While some are free, every token gets the next one; after that
it depends on the eviction:

- ``none``: the document is at its end.
- ``window``: the oldest row makes room, so that the last tokens are kept, in a ring. The rows of
  the first tokens, the sinks, may be kept forever. (G. Xiao et al., "Efficient Streaming
  Language Models with Attention Sinks", 2023.)
- ``attention``: the row that got the least attention lately makes room. (Z. Zhang et al., "H2O:
  Heavy-Hitter Oracle for Efficient Generative Inference of Large Language Models", 2023, whose
  sums do not fade.) Its mass fades by 1/16 with every token, and grows by the numerators of all
  heads and layers; a new row begins with the most that the heads of one layer could give it, so
  that it has time to become useful.
- ``recurrent``: there are no rows, but sums over everything so far: :mod:`.recurrent`.
"""

from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

import numpy as np

from gptloom.model.arithmetic import MANTISSA_BITS, Integers
from gptloom.model.errors import UserError
from gptloom.model.sites import Becomes

if TYPE_CHECKING:
    from gptloom.model.config import ModelConfig

FADE = 4
"""A row's mass loses ``2**-FADE`` of itself with every token."""


class Eviction(StrEnum):
    """Policy that decides which row makes room when all are taken."""

    NONE = "none"
    WINDOW = "window"
    ATTENTION = "attention"
    RECURRENT = "recurrent"


def first_mass(heads: int) -> int:
    """Return the mass of a new row: the limit if all heads of a layer always attend to it most."""
    return heads << MANTISSA_BITS + FADE


def mass_bits(heads: int) -> int:
    """Return the width at which a mass saturates, unsigned; two layers do not reach it."""
    return max(16, first_mass(heads).bit_length())


class KVCache:
    """Keys, values and state of the rows, for a batch of documents.

    Parameters
    ----------
    config
        Shape of the model; its context is the number of rows.
    batch
        Number of documents.

    Attributes
    ----------
    rows
        Keys and values, [layers, batch, rows, width] each.
    born
        Position of every row's token, [batch, rows]; -1 for a free row.
    mass
        Attention mass of every row, for eviction by attention, [batch, rows].
    evicted
        Number of rows evicted from each document.
    """

    def __init__(self, config: "ModelConfig", batch: int):
        shape = (config.layers, batch, config.context, config.cached_width)
        self.rows = {becomes: np.zeros(shape, np.int64) for becomes in (Becomes.KEY, Becomes.VALUE)}
        self.born = np.full((batch, config.context), -1, np.int64)
        self.mass = np.zeros((batch, config.context), np.int64)
        self.evicted = 0
        self._config = config

    def admit(self, position: Integers | int) -> Integers:
        """Make room for the next token of every document, and return their rows: [batch].

        Parameters
        ----------
        position
            Position of these tokens, common or one each, [batch]; 0 begins a document anew.

        Raises
        ------
        UserError
            If there is no room and nothing may be evicted.
        """
        c = self._config
        rows = position = np.broadcast_to(position, len(self.born))
        self.born[position == 0] = -1
        full = position >= c.context
        if full.any():
            if c.eviction is Eviction.NONE:
                raise UserError(
                    f"Position {position.max()} is outside the context: use 0 to {c.context - 1}."
                )
            if c.eviction is Eviction.WINDOW:
                evicted = c.sinks + (position - c.sinks) % (c.context - c.sinks)
            else:
                evicted = self.mass.argmin(axis=1)
            rows = np.where(full, evicted, position)
            self.evicted += 1
        every = np.arange(len(rows))
        self.born[every, rows] = position
        self.mass -= self.mass >> FADE
        self.mass[every, rows] = first_mass(c.heads)
        return rows

    def attend(self, numerators: Integers) -> None:
        """Add the attention of a layer to the rows' masses: [batch, occupied rows, heads]."""
        used = self.mass[:, : numerators.shape[1]]
        used[:] = np.minimum(
            used + numerators.sum(axis=-1), (1 << mass_bits(self._config.heads)) - 1
        )

    @property
    def occupied(self) -> int:
        """Number of rows in use in the document that has most; they are the first ones."""
        return int((self.born >= 0).sum(axis=1).max())


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


class Memory(Protocol):
    """Keys and values that queries see.

    Attributes
    ----------
    visible, distance
        Visibility of the keys, and their distance: [batch or 1, time, keys].
    """

    visible: np.ndarray
    distance: Integers

    def append(self, layer: int, becomes: Becomes, rows: Integers) -> Integers:
        """Add keys or values of the present tokens, [batch, time, width], and return all."""
        ...

    def attend(self, numerators: Integers) -> None:
        """Receive the numerators of attention, [batch, time, keys, heads]."""
        ...


class Whole:
    """Keys and values of whole sequences at once, from position 0 on."""

    def __init__(self, config: "ModelConfig", time: int):
        place = np.arange(time)
        self.visible = seen_at_once(config, time)[None]
        self.distance = np.maximum(place[:, None] - place, 0)[None]

    def append(self, layer: int, becomes: Becomes, rows: Integers) -> Integers:
        """Return the rows as they are: they are all there is."""
        return rows

    def attend(self, numerators: Integers) -> None:
        """Do nothing: no row is ever evicted."""


class Cached:
    """Rows of a cache to which a token of every document is added, at positions [batch] or one."""

    def __init__(self, cache: KVCache, position: Integers | int):
        self._cache, self._rows = cache, cache.admit(position)
        self._every, self._used = np.arange(len(self._rows)), slice(0, cache.occupied)
        born = cache.born[:, None, self._used]
        self.visible, self.distance = born >= 0, np.reshape(position, (-1, 1, 1)) - born

    def append(self, layer: int, becomes: Becomes, rows: Integers) -> Integers:
        """Write rows, and return all rows in use."""
        kept = self._cache.rows[becomes][layer]
        kept[self._every, self._rows] = rows[:, 0]
        return kept[:, self._used]

    def attend(self, numerators: Integers) -> None:
        """Pass attention on to the cache, because eviction may depend on it."""
        self._cache.attend(numerators[:, 0])
