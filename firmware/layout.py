"""Where everything of one model lies in the memories of one machine."""

from dataclasses import dataclass
from functools import cached_property
from math import ceil

import numpy as np
from numpy.typing import NDArray

from gptloom.firmware.machine import QUAD, Machine
from gptloom.model.arithmetic import MAX_INPUTS
from gptloom.model.config import ModelConfig
from gptloom.model.errors import UserError

MAX_HEADS = 4
LAYER_MATRICES = ("wq", "wk", "wv", "wo", "fc1", "fc2")
RECURRENT_MATRICES = LAYER_MATRICES[3:]
"""What is left where queries, keys and values are in a table."""


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
        for name in ("width", "hidden", "context"):
            size = getattr(config, name)
            if size > MAX_INPUTS:
                raise UserError(
                    f"{name} {size} is more than the {MAX_INPUTS} inputs a dot product can have"
                )
            if size % QUAD:
                raise UserError(f"{name} {size} does not divide into quads: use a multiple of 4")
        if config.head_width > MAX_INPUTS // 2:
            # Keys reach -128 where weights stop at -127.
            raise UserError(
                f"a head width of {config.head_width} is more than the {MAX_INPUTS // 2} that a "
                "score's accumulator holds: use more heads"
            )
        if config.heads > MAX_HEADS:
            raise UserError(f"{config.heads} heads are more than a folded core's {MAX_HEADS}")
        if max(machine.units, config.heads) % min(machine.units, config.heads):
            raise UserError(f"{machine.lanes} lanes cannot be shared by {config.heads} heads")

    @property
    def head_quads(self) -> int:
        """Quads of one head's query or key, the last padded with zeros."""
        return ceil(self.config.head_width / QUAD)

    @property
    def key_rows(self) -> int:
        """Outputs of the query and key products, padding included."""
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

    @cached_property
    def matrices(self) -> dict[tuple[int, str], Matrix]:
        """Every matrix by layer and name; the head is ``(0, "lm_head")``."""
        c = self.config
        shapes = dict(
            wq=(self.key_rows, c.width),
            wk=(self.key_rows, c.width),
            wv=(c.width, c.width),
            wo=(c.width, c.width),
            fc1=(c.hidden, c.width),
            fc2=(c.width, c.hidden),
        )
        names = RECURRENT_MATRICES if c.recurrent else LAYER_MATRICES
        wanted = [(i, name, *shapes[name]) for i in range(c.layers) for name in names]
        wanted.append((0, "lm_head", c.vocabulary, c.width))
        placed, base = {}, 0
        for layer, name, rows, inputs in wanted:
            matrix = Matrix(base, ceil(rows / self.machine.units), inputs // QUAD, rows)
            placed[layer, name] = matrix
            base += matrix.passes * matrix.quads
        return placed

    @property
    def weight_words(self) -> int:
        """Words of the operand memory that hold weights; keys and values follow."""
        return sum(m.passes * m.quads for m in self.matrices.values())

    @property
    def key_stride(self) -> int:
        """Words from one quad of the keys to the next."""
        m = self.machine
        return ceil(self.config.context / m.positions_per_word) * m.words_per_position

    @property
    def value_stride(self) -> int:
        """Words from one pass of the values to the next; a word holds four positions."""
        return self.config.context // QUAD

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
        """First word of the cache; of several slots the number is a field of their addresses."""
        slots = self.machine.slots
        if slots < 2:
            return self.weight_words
        align = self.machine.slot_words * slots
        return ceil(self.weight_words / align) * align

    def key_base(self, layer: int) -> int:
        """First word of a layer's keys, in the first slot."""
        return self.cache_base + layer * self.layer_words

    def value_base(self, layer: int) -> int:
        """First word of a layer's values."""
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

    def _bank_words(self, elements: int) -> int:
        return ceil(elements / (QUAD * self.config.heads))

    @property
    def stream(self) -> int:
        """Raw embedding, then the residual stream."""
        return 0

    @property
    def query(self) -> int:
        """Queries: one head a bank."""
        return self.stream + self._bank_words(self.config.width)

    @property
    def scores(self) -> int:
        """Scores, then softmax numerators: one head a bank, four positions a word."""
        return self.query + self.head_quads

    @property
    def mixed(self) -> int:
        """Attention's output, heads interleaved."""
        if self.config.recurrent:
            return self.query
        return self.scores + self.config.context // QUAD

    @property
    def hidden(self) -> int:
        """The MLP's hidden layer."""
        return self.mixed + self._bank_words(self.config.width)

    @property
    def activation_words(self) -> int:
        """Words of every activation bank in use."""
        return self.hidden + self._bank_words(self.config.hidden)

    @property
    def program_words(self) -> int:
        """Instructions of one token."""
        return 9 * self.config.layers + 2
