"""Addresses of one model's data in the memories of one machine."""

from dataclasses import dataclass
from functools import cached_property
from math import ceil

import numpy as np
from numpy.typing import NDArray

from gptloom.firmware.fit import check_shape
from gptloom.firmware.machine import QUAD, Machine
from gptloom.model.config import ModelConfig
from gptloom.model.formats import Precision
from gptloom.model.network import network
from gptloom.model.sites import Becomes, ElementOrder, Kind, Site

UNPROGRAMMED = (Kind.EMBEDDING, Kind.SOFTMAX)
"""Kinds of sites that are computed without an instruction."""


@dataclass(frozen=True)
class Matrix:
    """A weight matrix in the operand memory.

    Outputs are computed `units` at a time (a pass), inputs consumed four at a time (a quad): pass n
    and quad k are word ``base + n * quads + k``.
    """

    base: int
    passes: int
    quads: int
    rows: int


class Layout:
    """Addresses of one model on one machine.

    Raises
    ------
    UserError
        If the model's shape cannot be computed by a folded core at all.
    """

    def __init__(self, machine: Machine, config: ModelConfig):
        self.machine = machine
        self.config = config
        check_shape(config)
        self.network = network(config, Precision(cache=machine.cache))

    @property
    def head_quads(self) -> int:
        """Quads of one head's query or key, the last padded with zeros."""
        return ceil(self.config.head_width / QUAD)

    @property
    def key_rows(self) -> int:
        """Number of outputs of the query and key products, including padding."""
        return self.head_quads * QUAD * self.config.heads

    @property
    def query_order(self) -> NDArray[np.int64]:
        """Logical row of each query or key element in drain order; -1 is padding.

        Elements come head by head in quads, so that one quad belongs to one head.
        """
        j = np.arange(self.key_rows)
        heads, width = self.config.heads, self.config.head_width
        head, inner = j // QUAD % heads, j // QUAD // heads * QUAD + j % QUAD
        return np.where(inner < width, head * width + inner, -1)

    @property
    def value_order(self) -> NDArray[np.int64]:
        """Logical row of each value (and attention output) in drain order: heads interleaved."""
        j = np.arange(self.config.width)
        heads, width = self.config.heads, self.config.head_width
        return j % heads * width + j // heads

    def order(self, site: Site) -> NDArray[np.int64]:
        """Return the logical row of each of a site's elements in drain order; -1 is padding."""
        match site.order:
            case ElementOrder.HEAD_BY_HEAD:
                return self.query_order
            case ElementOrder.INTERLEAVED:
                return self.value_order
        return np.arange(site.elements)

    @cached_property
    def matrices(self) -> dict[str, Matrix]:
        """Every matrix by its name."""
        placed, base = {}, 0
        for site in self.network.computed:
            if site.matrix:
                rows = len(self.order(site))
                passes, quads = ceil(rows / self.machine.units), site.matrix.columns // QUAD
                placed[site.matrix.name] = Matrix(base, passes, quads, rows)
                base += passes * quads
        return placed

    @property
    def weight_words(self) -> int:
        """Words of the operand memory that hold weights; keys and values follow."""
        return sum(m.passes * m.quads for m in self.matrices.values())

    @property
    def key_stride(self) -> int:
        """Words from one quad of the keys to the next."""
        return self.machine.key_stride(self.config.context)

    @property
    def value_stride(self) -> int:
        """Words from one pass of the values to the next; a word holds four positions."""
        return self.machine.value_stride(self.config.context)

    @property
    def value_passes(self) -> int:
        """Passes over the cached values."""
        return ceil(self.config.width / self.machine.units)

    @property
    def layer_words(self) -> int:
        """Words of a layer's keys and values."""
        return self.head_quads * self.key_stride + self.value_passes * self.value_stride

    @property
    def cache_words(self) -> int:
        """Words of the keys and values of all layers."""
        return self.config.layers * self.layer_words

    @property
    def cache_base(self) -> int:
        """First word of the cache; with several slots, the slot number is an address field."""
        slots = self.machine.slots
        if slots < 2:
            return self.weight_words
        align = self.machine.slot_words * slots
        return ceil(self.weight_words / align) * align

    def key_base(self, layer: int) -> int:
        """Return the first word of a layer's keys, in the first slot."""
        return self.cache_base + layer * self.layer_words

    def value_base(self, layer: int) -> int:
        """Return the first word of a layer's values, in the first slot."""
        return self.key_base(layer) + self.head_quads * self.key_stride

    @property
    def operand_words(self) -> int:
        """Words of the operand memory in use."""
        if self.config.recurrent:
            return self.weight_words
        slots = self.machine.slots
        return self.cache_base + (
            slots * self.machine.slot_words if slots > 1 else self.cache_words
        )

    # Activation regions, as addresses into every bank: element j lies in quad j // 4, which is
    # word j // 4 // heads of bank j // 4 % heads.

    @cached_property
    def _regions(self) -> dict[str, tuple[int, int]]:
        """First word and word count of every region, by its contents; layers share regions."""
        found: dict[str, tuple[int, int]] = {}
        free = 0
        for site in self.network.computed:
            words = {
                Becomes.ACTIVATION: ceil(len(self.order(site)) / (QUAD * self.config.heads)),
                Becomes.STREAM: ceil(site.elements / (QUAD * self.config.heads)),
                Becomes.SCORES: self.config.context // QUAD,
            }.get(site.becomes)
            if words and self._region(site) not in found:
                found[self._region(site)] = free, words
                free += words
        return found

    @staticmethod
    def _region(site: Site) -> str:
        """Return the name of a site's region: the stream and scores are replaced in place."""
        return site.name if site.becomes is Becomes.ACTIVATION else site.becomes.name

    def activations(self, site: Site) -> int:
        """Return the first word of a site's value: the stream's, the scores', or its own."""
        return self._regions[self._region(site)][0]

    @property
    def stream(self) -> int:
        """First word of the raw embedding, then of the residual stream."""
        return self._regions[Becomes.STREAM.name][0]

    @property
    def activation_words(self) -> int:
        """Words of every activation bank in use."""
        return sum(words for _, words in self._regions.values())

    @property
    def program_words(self) -> int:
        """Instructions of one token."""
        return sum(site.kind not in UNPROGRAMMED for site in self.network.computed)

    @property
    def most_rows(self) -> int:
        """Largest number of outputs of an instruction."""
        return max(matrix.rows for matrix in self.matrices.values())
