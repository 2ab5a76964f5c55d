"""Tokenizers in the metadata of checkpoints."""

from collections.abc import Mapping
from typing import Any

from gptloom.model.errors import UserError
from gptloom.model.tokenizer import Tokenizer
from gptloom.model.tokenizers.characters import Characters
from gptloom.model.tokenizers.library import Library
from gptloom.model.tokenizers.pieces import Pieces

CHARACTERS, TOKENIZER = "characters", "tokenizer"
"""Keys of the metadata: one for characters, which is older, and one for the other kinds."""

_KINDS = {"pieces": Pieces, "library": Library}


def tokenizer_metadata(tokenizer: Tokenizer) -> dict[str, Any]:
    """Return a tokenizer as the metadata have it, ready for JSON."""
    if isinstance(tokenizer, Characters):
        return tokenizer.to_dict()
    (kind,) = (name for name, made in _KINDS.items() if type(tokenizer) is made)
    return {TOKENIZER: {"kind": kind, **tokenizer.to_dict()}}


def tokenizer_of(metadata: Mapping[str, Any]) -> Tokenizer:
    """Return the tokenizer that metadata have.

    Raises
    ------
    MissingPackageError
        A package that runs it is not installed.
    KeyError, TypeError, ValueError, UserError
        The metadata have none.
    """
    if TOKENIZER not in metadata:
        return Characters.from_dict(metadata)
    stored = metadata[TOKENIZER]
    if CHARACTERS in metadata or stored["kind"] not in _KINDS:
        raise UserError(f"the tokenizer is none of {', '.join([CHARACTERS, *_KINDS])}")
    return _KINDS[stored["kind"]].from_dict(stored)
