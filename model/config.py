"""The shape of a microGPT."""

from dataclasses import asdict, dataclass, fields
from typing import ClassVar

from gptloom.model.errors import UserError
from gptloom.model.positions import Positions


@dataclass(frozen=True)
class ModelConfig:
    """Every dimension that a microGPT has.

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
        it predicts per document.
    vocabulary
        Token ids, the end-of-document token included.
    positions
        How the model knows where its tokens stand.

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

    def __post_init__(self) -> None:
        for name, value in self.dimensions().items():
            if type(value) is not int or value < 1:
                raise UserError(f"{name} is {value!r}: give a positive integer.")
        if self.positions not in [*Positions]:
            raise UserError(f"positions is {self.positions!r}: give {' or '.join(Positions)}.")
        object.__setattr__(self, "positions", Positions(self.positions))
        if self.heads & (self.heads - 1):
            raise UserError(f"heads is {self.heads}: give a power of two.")
        if self.width % self.heads:
            raise UserError(
                f"width {self.width} cannot be shared by {self.heads} heads: "
                f"give a width that is a multiple of {self.heads}, or fewer heads."
            )
        if self.context < 2:
            raise UserError(f"context is {self.context}: give at least 2 positions.")
        if self.vocabulary < 2:
            raise UserError(
                f"vocabulary is {self.vocabulary}: "
                "give at least 2 tokens, one character and the end of document."
            )

    @property
    def head_width(self) -> int:
        """Elements of one head's query, key and value."""
        return self.width // self.heads

    @property
    def endless(self) -> bool:
        """Whether documents may be longer than the context."""
        return self.positions is not Positions.LEARNED

    @property
    def parameters(self) -> int:
        """Trained numbers in the whole model."""
        return sum(rows * columns for rows, columns in self.weight_shapes().values())

    def weight_shapes(self) -> dict[str, tuple[int, int]]:
        """Name and shape (outputs, inputs) of every weight tensor, in order of use.

        The embeddings are tables: one row per token and, of learned positions, per position.
        """
        shapes = {"wte": (self.vocabulary, self.width)}
        if self.positions is Positions.LEARNED:
            shapes["wpe"] = (self.context, self.width)
        for layer in range(self.layers):
            for name in ("attn_wq", "attn_wk", "attn_wv", "attn_wo"):
                shapes[f"layer{layer}.{name}"] = (self.width, self.width)
            shapes[f"layer{layer}.mlp_fc1"] = (self.hidden, self.width)
            shapes[f"layer{layer}.mlp_fc2"] = (self.width, self.hidden)
        shapes["lm_head"] = (self.vocabulary, self.width)
        return shapes

    def dimensions(self) -> dict[str, int]:
        """Return all that are numbers, by name."""
        return {name: value for name, value in asdict(self).items() if name != "positions"}

    def to_dict(self) -> dict[str, int | str]:
        """Return the configuration by name, for JSON; learned positions go without saying."""
        scheme = {} if self.positions is Positions.LEARNED else {"positions": str(self.positions)}
        return self.dimensions() | scheme

    @classmethod
    def from_dict(cls, dimensions: dict[str, int | str]) -> "ModelConfig":
        """Read what `to_dict` returned.

        Raises
        ------
        UserError
            A dimension is missing, unknown or invalid.
        """
        expected = {field.name for field in fields(cls)}
        given = set(dimensions) | {"positions"} if isinstance(dimensions, dict) else None
        if given != expected:
            raise UserError(
                f"The model configuration {dimensions!r} is not usable: "
                f"give exactly {', '.join(sorted(expected))}."
            )
        return cls(**dimensions)


ModelConfig.MICROGPT = ModelConfig()
ModelConfig.GATEGPT = ModelConfig(width=24, hidden=96)
ModelConfig.TWO_LAYER = ModelConfig(layers=2)
