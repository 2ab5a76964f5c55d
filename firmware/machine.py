"""Parameters of a folded core: its lanes, and the largest model that its memories hold."""

from dataclasses import dataclass, replace
from math import ceil

from gptloom.firmware.widths import bits_of, depth, power_of_two, signed_bits
from gptloom.model.arithmetic import EMBEDDING_SHIFT, MANTISSA_BITS, WEIGHT_BITS
from gptloom.model.cache import Eviction
from gptloom.model.config import ModelConfig
from gptloom.model.errors import UserError
from gptloom.model.family import Family
from gptloom.model.formats import STANDARD, CacheFormat, Precision
from gptloom.model.integer import IntegerModel
from gptloom.model.positions import Positions
from gptloom.model.recurrent import StateWidths

LANES = (8, 16, 32, 64, 128)
QUAD = 4
"""Lanes of one dot-product unit, and elements of one activation word."""

LANE_BITS = 8
"""Least bits of a lane in an operand word, which holds a weight or an element of a key or value."""

EXPONENT_ROW_BITS = 4
"""Bits of the exponent that a row of a matrix has where rows have their own."""

LEAST_LANES = {Family.MICROGPT: LANES[0], Family.LLAMA: 32}
"""Least lanes for each family: pairs of elements are turned, so they must come together."""

TABLE_BYTES = 2
"""Bytes of a weight in the table of recurrent sums, for each head."""

SPEED_BYTES = 4
"""Bytes of a rotary pair's speed."""

SLOTS = (0, 1, 2, 4)

LEAST_PROGRAM = 16
"""Words of the smallest program memory: a block RAM holds many more, and each of its columns has to
be found in a placed design by its random contents (:mod:`.boards.contents`)."""


@dataclass(frozen=True)
class Machine:
    """Dimensions of the hardware; a model that fits them is data.

    Attributes
    ----------
    lanes
        Multipliers of the MAC array, grouped in units of four.
    heads
        Attention heads; the activation memory has one bank per head.
    operand_words
        Depth of the operand memory (weights, keys, values), in words of one byte per lane.
    activation_words
        Depth of each activation bank, in words of four elements.
    stream_elements
        Largest number of elements of the residual stream.
    program_words
        Largest number of instructions.
    inputs, rows
        Largest numbers of inputs and of outputs of a matrix.
    vocabulary, context
        Largest numbers of token ids and of positions; with eviction the latter are rows of the
        cache. Without rows they do not matter.
    positions, eviction, sinks
        Kinds of positions and cache that the models have, see :class:`.ModelConfig`.
    slots
        Caches that keep prefixes for later documents (:class:`.Prefix`); 0 for one cache that
        every document fills anew.
    slot_words
        Operand words of each slot, a power of two.
    joins
        Whether a document may have its rows in two slots, which takes models with one layer.
    precision
        Widths of weights, keys, values and everything else; a lane of the operand memory holds a
        byte, or nine bits if any of them has nine.
    family
        Family of the models.
    cached_heads
        Heads of keys and values; 0 if there are as many as others.
    head_dim
        Elements of a head's query, key and value; 0 if `stream_elements` are shared evenly.
    exponent_words
        Depth of the memory of rows' exponents, `writers` of them a word.
    """

    lanes: int
    heads: int
    operand_words: int
    activation_words: int
    stream_elements: int
    program_words: int
    inputs: int
    rows: int
    vocabulary: int
    context: int
    positions: Positions = Positions.LEARNED
    eviction: Eviction = Eviction.NONE
    sinks: int = 0
    slots: int = 0
    slot_words: int = 0
    joins: bool = False
    precision: Precision = STANDARD
    family: Family = Family.MICROGPT
    cached_heads: int = 0
    head_dim: int = 0
    exponent_words: int = 0

    def __post_init__(self) -> None:
        from gptloom.firmware.fit import check_machine

        object.__setattr__(self, "cached_heads", self.cached_heads or self.heads)
        check_machine(self)

    @property
    def cache(self) -> CacheFormat:
        """Format of keys and values."""
        return self.precision.cache

    @property
    def gated(self) -> bool:
        """Whether the machine has what the family of Llama needs.

        Norms that are values of their own, exponents of rows, embeddings among the weights, SiLU
        and its products.
        """
        return self.family is Family.LLAMA

    @property
    def rotary(self) -> bool:
        """Whether pairs of queries' and keys' elements are turned."""
        return self.positions is Positions.ROTARY

    @property
    def shares(self) -> int:
        """Number of heads that share a key and a value."""
        return self.heads // self.cached_heads

    @property
    def lane_bits(self) -> int:
        """Bits of a lane in an operand word."""
        return max(LANE_BITS, self.precision.weights, *self.cache.widths)

    @property
    def unit_bits(self) -> int:
        """Bits of one unit's share of an operand word."""
        return QUAD * self.lane_bits

    @property
    def element_bits(self) -> int:
        """Bits of an element of the activation memory, which holds scores too."""
        return max(self.precision.activations, self.precision.scores)

    @property
    def units(self) -> int:
        """Number of dot-product units: outputs that the MAC array computes at a time."""
        return self.lanes // QUAD

    @property
    def writers(self) -> int:
        """Number of results that are requantised and written in one cycle."""
        return 4 if self.units >= 8 else 1

    @property
    def beats(self) -> int:
        """Cycles in which the results of one pass leave the drain."""
        return self.units // self.writers

    @property
    def score_heads(self) -> int:
        """Heads whose scores leave the drain in one cycle."""
        return min(self.units, self.heads)

    @property
    def score_beats(self) -> int:
        """Cycles in which the scores of one pass leave the drain."""
        return self.units // (self.score_heads * self.score_positions)

    @property
    def score_positions(self) -> int:
        """Positions whose scores leave the drain in one cycle; whole or half words of scores."""
        return min(QUAD, self.positions_per_pass) if self.gated else 1

    @property
    def softmax_positions(self) -> int:
        """Positions whose numerators are computed in one cycle: long contexts want whole words."""
        return QUAD if self.gated else 1

    @property
    def overlaps(self) -> bool:
        """Whether the mix begins with the first numerators, a word of which is ready every cycle.

        Its first pass has them as they are written; further passes read them from the memory.
        """
        return self.softmax_positions == QUAD

    @property
    def positions_per_pass(self) -> int:
        """Positions whose scores the MAC array computes at a time; 1 if that takes passes."""
        return max(1, self.units // self.heads)

    @property
    def passes_per_position(self) -> int:
        """Passes for the scores of one position."""
        return max(1, self.heads // self.units)

    @property
    def positions_per_word(self) -> int:
        """Number of cached keys in one operand word; 1 if a key takes a word or more."""
        return max(1, self.units // self.cached_heads)

    @property
    def words_per_position(self) -> int:
        """Number of operand words that one quad of all heads' keys takes."""
        return max(1, self.cached_heads // self.units)

    def cached_unit(self, number: int) -> int:
        """Return the unit that stores a cached number of a word's, counted in order.

        A word has a key's or value's elements for `shares` passes. The units that share one take
        theirs from neighbours, which is a short way.
        """
        together = self.units // self.shares
        return number % together * self.shares + number // together

    @property
    def granule(self) -> int:
        """Number of cached positions that share words."""
        return max(QUAD, self.positions_per_word)

    def key_stride(self, context: int) -> int:
        """Return the operand words from one quad of this many positions' keys to the next."""
        return ceil(context / self.positions_per_word) * self.words_per_position

    @staticmethod
    def value_stride(context: int) -> int:
        """Return the operand words from one pass of this many positions' values to the next."""
        return context // QUAD

    @property
    def accumulator_bits(self) -> int:
        """Width of a dot product: of weights to -127, of numerators to 511, of any cached rows."""
        if self.recurrent:
            return max(signed_bits(self._weight_sum), StateWidths().value_bits)
        key, value = (1 << (bits - 1) for bits in self.cache.widths)
        scores = (self.head_width * key) << (self.precision.activations - 1)
        mix = self.context * value * ((1 << MANTISSA_BITS) - 1)
        return signed_bits(max(self._weight_sum, scores, mix))

    @property
    def _weight_sum(self) -> int:
        precision = self.precision
        bits = max(WEIGHT_BITS, precision.weights)
        weights = self.inputs * ((1 << (bits - 1)) - 1) << (precision.activations - 1)
        # The stream may take the place of a sum, times a constant or a norm's gains.
        gain = max(EMBEDDING_SHIFT, bits - 1 if self.gated else 0)
        return max(weights, 1 << (precision.stream - 1 + gain))

    @property
    def address_bits(self) -> int:
        """Width of an operand word's address."""
        return bits_of(self.operand_words - 1)

    @property
    def row_bits(self) -> int:
        """Width of the number of a result, including those that fill up the last pass."""
        return bits_of(self.rows + self.units)

    @property
    def operation_bits(self) -> int:
        """Width of the number of an instruction."""
        return bits_of(self.program_words)

    @property
    def embedding_operation(self) -> int:
        """Number of the embedding's results in place of an instruction's: all ones."""
        return (1 << self.operation_bits) - 1

    @property
    def deep(self) -> bool:
        """Whether the pipeline's paths are half as long, and its latencies longer.

        It serves the slow parts that 8 lanes are made for: an UltraPlus takes 3 ns for every step.
        """
        return self.lanes == 8

    @property
    def recurrent(self) -> bool:
        """Whether sums take the place of the KV cache's rows."""
        return self.eviction is Eviction.RECURRENT

    @property
    def head_width(self) -> int:
        """Most elements of a head's value."""
        return self.head_dim or max(1, self.stream_elements // self.heads)

    @property
    def sum_bits(self) -> int:
        """Bits of one head's recurrent sums for one query."""
        return StateWidths().sum_bits(self.head_width)

    @property
    def value_words(self) -> int:
        """Number of words with values in a token's row of the table of recurrent sums."""
        return ceil(self.head_width / 2)

    @property
    def row_words(self) -> int:
        """Words of such a row: weights for every query, followed by the values, two per word."""
        return power_of_two(self.vocabulary + self.value_words)

    @property
    def position_bytes(self) -> int:
        """Bytes of a word of the load port's region for positions: embeddings, or that table.

        With rotary positions a word is the speed of a pair.
        """
        if self.rotary:
            return SPEED_BYTES
        return TABLE_BYTES * self.heads if self.recurrent else self.writers

    @property
    def position_words(self) -> int:
        """Number of such words; none if penalties replace embeddings."""
        if self.recurrent:
            return self.vocabulary * self.row_words
        if self.rotary:
            return self.head_width // 2
        if self.positions is Positions.ALIBI:
            return 0
        return self.context * self.stream_elements // self.writers

    @classmethod
    def for_model(cls, lanes: int, model: IntegerModel, slots: int = 0) -> "Machine":
        """Return the smallest machine that runs an integer model; see :meth:`for_models`."""
        precision = model.precision
        if model.config.family is Family.MICROGPT:
            # Narrow weights need no other hardware.
            precision = Precision(cache=precision.cache)
        return cls.for_models(lanes, model.config, slots=slots, precision=precision)

    @classmethod
    def for_models(
        cls,
        lanes: int,
        *configs: ModelConfig,
        slots: int = 0,
        precision: Precision = STANDARD,
    ) -> "Machine":
        """Return the smallest machine with this many lanes that runs all of the models.

        It keeps prefixes in the given number of slots, and computes with the widths of `precision`.

        Raises
        ------
        UserError
            If `lanes` is not a width that can be built, or the models differ in heads, or in
            their caches.
        """
        from gptloom.firmware.layout import Layout

        if len({config.heads for config in configs}) != 1:
            raise UserError("models with different numbers of heads need hardware of their own")
        kinds = {(config.positions, config.eviction, config.sinks) for config in configs}
        if len(kinds) != 1:
            raise UserError("models with different positions or caches need hardware of their own")
        families = {(c.family, c.cached_heads, c.head_dim and c.head_width) for c in configs}
        if len(families) != 1:
            raise UserError("models of different families or heads need hardware of their own")
        family, cached_heads, head_dim = families.pop()
        vocabulary = max(config.vocabulary for config in configs)
        context = max(config.context for config in configs)
        kind = kinds.pop()
        inputs = max(max(c.width, c.hidden, c.heads * c.head_width) for c in configs)
        blank = cls(
            lanes, configs[0].heads, 0, 0, 0, 0, inputs, 0, vocabulary, context, *kind,
            precision=precision, family=family, cached_heads=cached_heads, head_dim=head_dim or 0,
        )  # fmt: skip
        if slots:
            words = max(Layout(blank, config).cache_words for config in configs)
            joins = slots > 1 and all(config.layers == 1 for config in configs)
            kept = {"slots": slots, "slot_words": power_of_two(words), "joins": joins}
            blank = replace(blank, **kept)
        layouts = [Layout(blank, config) for config in configs]
        return replace(
            blank,
            operand_words=depth(max(layout.operand_words for layout in layouts)),
            activation_words=depth(max(layout.activation_words for layout in layouts)),
            stream_elements=power_of_two(max(config.width for config in configs)),
            program_words=max(
                LEAST_PROGRAM, *(power_of_two(layout.program_words) for layout in layouts)
            ),
            rows=max(layout.most_rows for layout in layouts),
            exponent_words=max(layout.exponent_words for layout in layouts),
        )
