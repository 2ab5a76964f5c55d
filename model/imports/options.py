"""What a person says about a file to import, and the check of its shape."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from gptloom.model.config import ModelConfig
from gptloom.model.errors import UserError


class End(StrEnum):
    """Places of the end token among a microGPT's tokens."""

    FIRST = "first"
    LAST = "last"


@dataclass(frozen=True)
class Options:
    """Facts that a file may lack; None where nobody has stated them.

    Parameters
    ----------
    tokenizer
        File of the tokenizer.
    context
        Positions to keep, if fewer than the model's.
    characters, end, heads
        Characters in the order of their tokens, place of the end token, and attention heads of a
        microGPT.
    accept
        Called with the shape before weights are read; it raises UserError to refuse it.
    """

    tokenizer: Path | None = None
    context: int | None = None
    characters: str | None = None
    end: End | None = None
    heads: int | None = None
    accept: Callable[[ModelConfig], None] = lambda config: None

    def shape(self, path: Path, **dimensions: Any) -> ModelConfig:
        """Return the shape of a file's model.

        Parameters
        ----------
        path
            The file, named in refusals.
        **dimensions
            Dimensions and properties, as for :class:`.ModelConfig`.

        Raises
        ------
        UserError
            There is no such shape, it has fewer positions than wanted, or `accept` refuses it.
        """
        try:
            config = ModelConfig(**dimensions)
            if self.context is not None:
                if self.context > config.context:
                    raise UserError(
                        f"it was trained for {config.context} positions, not {self.context}: "
                        "leave --context out, or give fewer"
                    )
                config = replace(config, context=self.context)
            self.accept(config)
        except UserError as refusal:
            raise UserError(f"{path} cannot be imported: {refusal}") from None
        return config


def agreed(what: str, stored: Any, stated: Any) -> Any:
    """Return what a file or a person says, None if neither does.

    Raises
    ------
    UserError
        They contradict each other.
    """
    if stored is not None and stated is not None and stored != stated:
        raise UserError(f"the file says {what} {stored!r}, not {stated!r}: leave the option out")
    return stated if stored is None else stored
