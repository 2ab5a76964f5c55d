"""The shape of a model."""

from dataclasses import asdict, dataclass, fields, replace
from math import inf
from typing import ClassVar

from gptloom.model.cache import Eviction
from gptloom.model.errors import UserError
from gptloom.model.family import Family
from gptloom.model.network import network
from gptloom.model.positions import Positions

_CHOICES = {"positions": Positions, "eviction": Eviction, "family": Family}
_OPTIONAL = (*_CHOICES, "sinks", "kv_heads", "head_dim", "theta", "epsilon", "tied")
"""Fields that may be missing from a dictionary, and have their default then."""

_OF_LLAMA = ("kv_heads", "head_dim", "theta", "tied")
"""Properties that only the family of Llama has."""


@dataclass(frozen=True)
class ModelConfig:
    """Every dimension that a model has.

    The defaults are those of Karpathy's microGPT (gist 8627fe009c40f57531cb18360106ce95) on its
    corpus of names.

    Parameters
    ----------
    layers
        Transformer layers.
    width
        Elements of the residual stream.
    heads
        Attention heads; a power of two that divides ``width``.
    hidden
        Rows of the first MLP matrix.
    context
        Positions that the model was trained to see; with learned positions also the most tokens
        that it predicts per document.
    vocabulary
        Token ids, including the end-of-document token.
    positions
        Encoding of the positions.
    eviction, sinks
        Policy of the KV cache, which has `context` rows, when it is full: :mod:`.cache`. Every
        policy but the end of the document needs positions that go on, which learned ones do not.
        Without rows the context does not matter.
    family
        Family of models, which has further properties:
    kv_heads, head_dim
        Heads of keys and values, if they serve several heads each, and elements of a head, if
        not ``width / heads``.
    theta
        Base of the rotations' speeds.
    epsilon
        Constant added to the mean square in every RMSNorm.
    tied
        Whether the matrix of the logits is the embedding of the tokens.

    Raises
    ------
    UserError
        A dimension is not a positive integer, or the dimensions do not fit together.
    """

    MICROGPT: ClassVar["ModelConfig"]
    """Karpathy's microGPT: 4,192 parameters."""
    GATEGPT: ClassVar["ModelConfig"]
    """The shape of gateGPT's core: 8,592 parameters (its own weights add 72 norm gains)."""
    TWO_LAYER: ClassVar["ModelConfig"]
    """microGPT with a second layer: 7,264 parameters."""

    layers: int = 1
    width: int = 16
    heads: int = 4
    hidden: int = 64
    context: int = 16
    vocabulary: int = 27
    positions: Positions = Positions.LEARNED
    eviction: Eviction = Eviction.NONE
    sinks: int = 0
    family: Family = Family.MICROGPT
    kv_heads: int | None = None
    head_dim: int | None = None
    theta: float = 10_000.0
    epsilon: float = 1e-5
    tied: bool = False

    def __post_init__(self) -> None:
        for name, value in self.dimensions().items():
            if type(value) is not int or value < 1:
                raise UserError(f"{name} is {value!r}: give a positive integer.")
        for name, kind in _CHOICES.items():
            if getattr(self, name) not in [*kind]:
                raise UserError(f"{name} is {getattr(self, name)!r}: give {' or '.join(kind)}.")
            object.__setattr__(self, name, kind(getattr(self, name)))
        if type(self.epsilon) not in (int, float) or not 0 <= self.epsilon < 1:
            raise UserError(f"epsilon is {self.epsilon!r}: give a small number, such as 1e-5.")
        most = self.context - 1 if self.eviction is Eviction.WINDOW else 0
        if not 0 <= self.sinks <= most:
            raise UserError(
                f"{self.sinks} sinks: only a window has them, and less than its {self.context} rows"
            )
        if self.endless and self.positions is Positions.LEARNED:
            raise UserError(
                f"learned positions end after {self.context} tokens, and what the model would say "
                "at others is nonsense: give a checkpoint trained with --positions alibi, or leave "
                "the eviction out"
            )
        if self.recurrent and self.layers != 1:
            raise UserError(
                f"sums in the place of a cache need one layer, whose keys depend on their token "
                f"alone, and this model has {self.layers}: choose another cache"
            )
        if self.heads & (self.heads - 1):
            raise UserError(f"heads is {self.heads}: give a power of two.")
        if self.head_dim is None and self.width % self.heads:
            raise UserError(
                f"width {self.width} cannot be shared by {self.heads} heads: "
                f"give a width that is a multiple of {self.heads}, or fewer heads."
            )
        self._check_family()
        if self.context < 2:
            raise UserError(f"context is {self.context}: give at least 2 positions.")
        if self.vocabulary < 2:
            raise UserError(
                f"vocabulary is {self.vocabulary}: "
                "give at least 2 tokens, one character and the end of document."
            )

    def _check_family(self) -> None:
        """Refuse what the family does not have."""
        rotary = self.positions is Positions.ROTARY
        if self.family is Family.MICROGPT:
            own = {name: getattr(ModelConfig, name) for name in _OF_LLAMA}
            if rotary or any(getattr(self, name) != value for name, value in own.items()):
                raise UserError(
                    f"a microGPT has neither rotary positions nor {', '.join(_OF_LLAMA)}: give "
                    f"the family {Family.LLAMA}"
                )
            return
        if not rotary:
            raise UserError(f"the family {self.family} has rotary positions: give these")
        for name in ("kv_heads", "head_dim"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 1):
                raise UserError(f"{name} is {value!r}: give a positive integer.")
        if self.heads % self.cached_heads:
            raise UserError(
                f"{self.heads} heads cannot share {self.cached_heads} heads of keys and values: "
                "give a number that divides the heads"
            )
        if self.head_width % 2:
            raise UserError(
                f"heads have {self.head_width} elements, and rotations turn pairs: give an even "
                "number"
            )
        if type(self.theta) not in (int, float) or not 0 < self.theta < inf:
            raise UserError(f"theta is {self.theta!r}: give a positive number.")

    @property
    def head_width(self) -> int:
        """Elements of one head's query, key and value."""
        return self.head_dim or self.width // self.heads

    @property
    def cached_heads(self) -> int:
        """Heads of the cached keys and values."""
        return self.kv_heads or self.heads

    @property
    def cached_width(self) -> int:
        """Elements of a cached key, and of a cached value."""
        return self.cached_heads * self.head_width

    @property
    def endless(self) -> bool:
        """Whether documents may be longer than the context."""
        return self.eviction is not Eviction.NONE

    @property
    def recurrent(self) -> bool:
        """Whether sums take the place of the KV cache's rows: :mod:`.recurrent`."""
        return self.eviction is Eviction.RECURRENT

    @property
    def parameters(self) -> int:
        """Trained numbers in the whole model."""
        return sum(rows * columns for rows, columns in self.weight_shapes().values())

    def with_cache(self, rows: int, eviction: Eviction, sinks: int = 0) -> "ModelConfig":
        """Return the shape with another KV cache.

        Parameters
        ----------
        rows
            Rows of the cache.
        eviction, sinks
            Policy, as in :class:`ModelConfig`.

        Raises
        ------
        UserError
            If the positions do not allow it.
        """
        config = replace(self, context=rows, eviction=eviction, sinks=sinks)
        if config.positions is Positions.LEARNED and rows != self.context:
            raise UserError(
                f"learned positions are {self.context}, not {rows}: leave the rows out, or "
                "give a checkpoint trained with --positions alibi"
            )
        return config

    def weight_shapes(self) -> dict[str, tuple[int, int]]:
        """Return the name and shape (outputs, inputs) of every weight tensor, in order of use.

        The embeddings are tables: one row per token and, for learned positions, per position.
        """
        return {weights.name: weights.shape for weights in network(self).weights}

    def dimensions(self) -> dict[str, int]:
        """Return all dimensions by name."""
        return {name: value for name, value in asdict(self).items() if name not in _OPTIONAL}

    def to_dict(self) -> dict[str, object]:
        """Return the configuration by name, for JSON; options with their default are left out."""
        optional = {name: getattr(self, name) for name in _OPTIONAL}
        unusual = {k: v for k, v in optional.items() if v != getattr(ModelConfig, k)}
        return self.dimensions() | unusual

    @classmethod
    def from_dict(cls, dimensions: dict[str, object]) -> "ModelConfig":
        """Read a configuration that `to_dict` returned.

        Raises
        ------
        UserError
            A dimension is missing, unknown or invalid.
        """
        expected = {field.name for field in fields(cls)}
        given = {*dimensions, *_OPTIONAL} if isinstance(dimensions, dict) else None
        if given != expected:
            raise UserError(
                f"The model configuration {dimensions!r} is not usable: "
                f"give exactly {', '.join(sorted(expected))}."
            )
        return cls(**dimensions)


ModelConfig.MICROGPT = ModelConfig()
ModelConfig.GATEGPT = ModelConfig(width=24, hidden=96)
ModelConfig.TWO_LAYER = ModelConfig(layers=2)
