"""One line of the table that describes a network: a site and its properties.

A site is a place where a named value is computed: the embedding, a matrix product rescaled to
activations, scores. :mod:`.network` makes the table.
"""

from dataclasses import dataclass
from enum import Enum, auto

from gptloom.model.arithmetic import ACTIVATION_BITS

Key = tuple[int, str]
"""Layer and name of a site, as in traces; sites outside the layers are in layer 0."""


class Kind(Enum):
    """Computations that a site can be."""

    EMBEDDING = auto()
    """The sum of the token's row and, if positions are learned, the position's."""
    NORM = auto()
    """The source itself, normalised."""
    PRODUCT = auto()
    """A matrix times the source."""
    SCORES = auto()
    """Every head's query times its cached keys, less the penalty of the distance."""
    SOFTMAX = auto()
    """The numerators of the softmax."""
    MIX = auto()
    """Every head's numerators times its cached values."""
    SUMS = auto()
    """The same from sums over all earlier tokens: :mod:`.recurrent`."""


class ElementOrder(Enum):
    """Orders in which the hardware computes and stores a value's elements.

    A matrix has its rows in the order of the site, its columns in that of the source.
    """

    NATURAL = auto()
    HEAD_BY_HEAD = auto()
    """Queries and keys: head by head in quads, the last quad of a head padded."""
    INTERLEAVED = auto()
    """Values and their mix: the first elements of all heads, then the second ones, and so on."""


class Function(Enum):
    """Functions applied after a scale."""

    NONE = auto()
    RELU = auto()
    SILU = auto()
    """The value times its logistic function."""


class Combination(Enum):
    """Combinations applied after a function."""

    NONE = auto()
    ADD = auto()
    """The residual stream is added."""
    MULTIPLY = auto()
    """Another site's value is the other factor."""


class Scaling(Enum):
    """Mantissa and exponent that a sum is scaled with."""

    ONE = auto()
    NORM = auto()
    """One over the root mean square of the present stream."""
    SUM = auto()
    """One over the sum of the head's numerators."""
    TEMPERATURE = auto()


class Becomes(Enum):
    """Uses of a value, which determine where the hardware writes it."""

    ACTIVATION = auto()
    STREAM = auto()
    """The residual stream, which is read, added to and normalised."""
    RESIDUAL = auto()
    """The residual stream up to the next site that adds it: nothing else reads it."""
    KEY = auto()
    VALUE = auto()
    """Rows of the cache."""
    SCORES = auto()
    """Scores, which their numerators replace."""
    GATE = auto()
    """Factors of another site's values."""
    LOGITS = auto()


class Path(Enum):
    """Sites between which a factor can move without changing the network."""

    SCORE = auto()
    VALUE = auto()
    MLP = auto()


@dataclass(frozen=True)
class Weights:
    """A tensor of the checkpoint and of the integer model: [rows, columns], a row per output.

    An embedding has a row per token or position.
    """

    name: str
    rows: int
    columns: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.rows, self.columns


@dataclass(frozen=True)
class Site:
    """One line of the table.

    Attributes
    ----------
    layer
        Its layer; None outside the layers.
    name
        The site's name in its layer.
    kind
        Computation of the value.
    elements
        Elements of the value; scores and numerators have as many for every cached position.
    bits
        Width of an element.
    product_bits
        Width before rotation, function and combination, if it differs.
    source
        The site that is read.
    normed
        Whether the source is normalised, as published; `scale` says where integers are.
    matrix
        The matrix of a product.
    gain
        Factors of a norm's elements, a tensor with one row; None if later matrices contain them.
    rotated
        Whether pairs of elements are turned by an angle that grows with the position.
    rows
        The site whose cached rows are the other factor.
    order
        Order of the elements.
    scale
        None if there is nothing to scale, or only a constant that needs no choice.
    function, combination
        Post-operations, in this order.
    factor
        The site that is multiplied with.
    becomes
        Use of the value.
    path, lean
        Path that the site's shift belongs to, and the usual difference of the shift from an equal
        share of the path's sum: the start of the quantiser's search.
    phase
        Part of a token's time that its instruction is reported under.
    tabled
        Whether the value depends on the token alone and is read from a table.
    """

    layer: int | None
    name: str
    kind: Kind
    elements: int
    bits: int = ACTIVATION_BITS
    product_bits: int | None = None
    source: Key | None = None
    normed: bool = False
    matrix: Weights | None = None
    gain: Weights | None = None
    rotated: bool = False
    rows: Key | None = None
    order: ElementOrder = ElementOrder.NATURAL
    scale: Scaling | None = None
    function: Function = Function.NONE
    combination: Combination = Combination.NONE
    factor: Key | None = None
    becomes: Becomes = Becomes.ACTIVATION
    path: Path | None = None
    lean: int = 0
    phase: str = ""
    tabled: bool = False

    @property
    def key(self) -> Key:
        """Layer and name, as in traces."""
        return self.layer or 0, self.name

    @property
    def label(self) -> str:
        """The site in words, unique in its network."""
        return self.name if self.layer is None else f"{self.layer}.{self.name}"

    @property
    def shifted(self) -> bool:
        """Whether the integer model has a shift for it."""
        return self.scale not in (None, Scaling.TEMPERATURE)

    @property
    def scaled_bits(self) -> int:
        """Width to which the scaled sum is saturated."""
        return self.product_bits or self.bits

    @property
    def is_stream(self) -> bool:
        """Whether the value is part of the residual stream."""
        return self.becomes in (Becomes.STREAM, Becomes.RESIDUAL)

    @property
    def is_cached(self) -> bool:
        """Whether the value is a row of the cache."""
        return self.becomes in (Becomes.KEY, Becomes.VALUE)
