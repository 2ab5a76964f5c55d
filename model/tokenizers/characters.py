"""One token per character, and one that begins and ends a document."""

from collections.abc import Iterable

from gptloom.model.errors import UserError
from gptloom.model.tokenizer import Tokenizer


class Characters(Tokenizer):
    """Characters are tokens, numbered in sorted order; the last id is the special token.

    The special token `bos` stands both before a document's first character and after its last, as
    in Karpathy's microGPT (gist 8627fe009c40f57531cb18360106ce95).

    Parameters
    ----------
    characters
        The distinct characters, in sorted order.

    Raises
    ------
    UserError
        There are no characters, or they repeat or are out of order.
    """

    def __init__(self, characters: str):
        if not characters or list(characters) != sorted(set(characters)):
            raise UserError(
                f"The characters {characters!r} are not a vocabulary: "
                "give at least one, each once, in sorted order."
            )
        self.characters = characters
        self._ids = {character: i for i, character in enumerate(characters)}

    @classmethod
    def from_documents(cls, documents: Iterable[str]) -> "Characters":
        """Make a tokenizer that knows every character of the documents."""
        return cls("".join(sorted(set().union(*documents))))

    @property
    def bos(self) -> int:
        """Id of the token that begins and ends every document."""
        return len(self.characters)

    @property
    def vocabulary(self) -> int:
        """Number of token ids, `bos` included."""
        return len(self.characters) + 1

    def encode(self, text: str) -> list[int]:
        """Return the ids of the text's characters, without `bos`.

        Raises
        ------
        UserError
            A character is not in the vocabulary.
        """
        try:
            return [self._ids[character] for character in text]
        except KeyError as unknown:
            raise UserError(
                f"The character {unknown.args[0]!r} is not in the vocabulary: "
                f"use only {self.characters!r}."
            ) from None

    def piece(self, token: int, previous: int) -> bytes:
        """Return the token's character in UTF-8; `bos` has none."""
        return self.characters[token : token + 1].encode()

    def to_dict(self) -> dict[str, object]:
        """Return the characters."""
        return {"characters": self.characters}

    @classmethod
    def from_dict(cls, stored: dict[str, str]) -> "Characters":
        """Make the tokenizer that `to_dict` described."""
        return cls(stored["characters"])


def characters_of(tokenizer: Tokenizer) -> str:
    """Return the characters of the tokens, for what shows single ones.

    Raises
    ------
    UserError
        The tokens are no single characters.
    """
    if not isinstance(tokenizer, Characters):
        raise UserError(
            "a display and a serial line show single characters, and this model's tokens are "
            "pieces of text: simulate it ('generate'), or take its core alone ('verilog')"
        )
    return tokenizer.characters
