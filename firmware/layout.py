"""Addresses of one model's data in the memories of one machine."""

from dataclasses import dataclass
from functools import cached_property
from math import ceil

import numpy as np
from numpy.typing import NDArray

from gptloom.firmware.fit import check_shape
from gptloom.firmware.machine import QUAD, Machine
from gptloom.model.config import ModelConfig
from gptloom.model.network import network
from gptloom.model.sites import Becomes, ElementOrder, Kind, Site


def programmed(site: Site) -> bool:
    """Return whether an instruction computes a site: softmax and plain embeddings need none."""
    return site.kind is not Kind.SOFTMAX and (site.kind is not Kind.EMBEDDING or site.shifted)


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
        self.network = network(config, machine.precision)

    @property
    def head_quads(self) -> int:
        """Quads of one head's query or key, the last padded with zeros."""
        return ceil(self.config.head_width / QUAD)

    def order(self, site: Site) -> NDArray[np.int64]:
        """Return the logical row of each of a site's elements in drain order; -1 is padding.

        Queries and keys come head by head in quads, so that one quad belongs to one head; in
        values and attention's outputs heads are interleaved.
        """
        width = self.config.head_width
        heads = site.elements // width
        match site.order:
            case ElementOrder.HEAD_BY_HEAD:
                j = np.arange(self.head_quads * QUAD * heads)
                head, inner = j // QUAD % heads, j // QUAD // heads * QUAD + j % QUAD
                return np.where(inner < width, head * width + inner, -1)
            case ElementOrder.INTERLEAVED:
                j = np.arange(site.elements)
                return j % heads * width + j // heads
        return np.arange(site.elements)

    @cached_property
    def matrices(self) -> dict[str, Matrix]:
        """Every matrix by its name; embeddings come first, where a machine has them among these."""
        table, placed, base = self.network, {}, 0
        shapes = {table.tokens.name: table.tokens.shape} if self.machine.gated else {}
        for site in table.computed:
            if site.matrix:
                shapes[site.matrix.name] = len(self.order(site)), site.matrix.columns
        for name, (rows, columns) in shapes.items():
            passes, quads = ceil(rows / self.machine.units), columns // QUAD
            placed[name] = Matrix(base, passes, quads, rows)
            base += passes * quads
        return placed

    @property
    def exponent_sites(self) -> list[Site]:
        """Sites whose rows have exponents, in the order of the program."""
        return [site for site in self.network.computed if site.matrix and self.machine.gated]

    @property
    def exponent_words(self) -> int:
        """Words of the memory of exponents: a site's begin a word."""
        writers = self.machine.writers
        return sum(ceil(len(self.order(site)) / writers) for site in self.exponent_sites)

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
        return ceil(self.config.heads * self.config.head_width / self.machine.units)

    @property
    def layer_words(self) -> int:
        """Words of a layer's keys and values."""
        values = ceil(self.value_passes / self.machine.shares) * self.value_stride
        return self.head_quads * self.key_stride + values

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
                # A stream that only norms read lies in a memory of its own.
                Becomes.STREAM: not self.machine.gated
                and ceil(site.elements / (QUAD * self.config.heads)),
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
        """Return the first word of a site's value: the stream's, the scores', or its own.

        It is 0 for values that lie elsewhere.
        """
        return self._regions.get(self._region(site), (0, 0))[0]

    @property
    def stream(self) -> int:
        """First word of the raw embedding, then of the residual stream."""
        return self.activations(self.network.embedding)

    @property
    def activation_words(self) -> int:
        """Words of every activation bank in use."""
        return sum(words for _, words in self._regions.values())

    @property
    def program_words(self) -> int:
        """Instructions of one token."""
        return sum(map(programmed, self.network.computed))

    @property
    def most_rows(self) -> int:
        """Largest number of outputs of an instruction."""
        rows = [len(self.order(site)) for site in self.network.computed if programmed(site)]
        return max(rows)
