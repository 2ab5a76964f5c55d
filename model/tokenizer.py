"""Text to token ids and back: one token per character, and one that begins and ends a document."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from gptloom.model.errors import UserError
from gptloom.model.positions import Positions

PADDING = -1
"""Token id that fills the rows of documents shorter than the longest."""

_PART = 128
"""Number of documents computed at once: the scores of thousands would fill the memory."""


class Tokenizer:
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
    def from_documents(cls, documents: Iterable[str]) -> "Tokenizer":
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

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text up to the first `bos`, or of all ids if there is none.

        Raises
        ------
        UserError
            An id is not a token of the vocabulary.
        """
        text = []
        for i in ids:
            if i == self.bos:
                break
            if not 0 <= i < self.bos:
                raise UserError(f"{i} is not a token: use ids 0 to {self.bos}.")
            text.append(self.characters[i])
        return "".join(text)

    def rows(self, documents: Sequence[str], context: int) -> np.ndarray:
        """Return documents as the token rows that training and loss work on.

        Parameters
        ----------
        documents
            One text each.
        context
            Most predictions per document; a longer one is cut.

        Returns
        -------
        numpy.ndarray
            int16, [documents, context + 1]: `bos`, characters, `bos`, then `PADDING`.

        Raises
        ------
        UserError
            A character is not in the vocabulary.
        """
        rows = np.full((len(documents), context + 1), PADDING, dtype=np.int16)
        for row, document in zip(rows, documents, strict=True):
            tokens = [self.bos, *self.encode(document), self.bos][: context + 1]
            row[: len(tokens)] = tokens
        return rows

    def rows_of(self, positions: Positions) -> Callable[[Sequence[str], int], np.ndarray]:
        """Return the method that makes the rows for a model: one per document, or endless ones."""
        return self.rows if positions is Positions.LEARNED else self.stream_rows

    def stream_rows(self, documents: Sequence[str], length: int) -> np.ndarray:
        """Return documents as token rows in which one document follows another without end.

        Parameters
        ----------
        documents
            One text each; tokens at the end that do not fill a row are left out.
        length
            Predictions in a row.

        Returns
        -------
        numpy.ndarray
            int16, [rows, length + 1]. A row begins with the `bos` before the first document with no
            part in the previous row, so that no prediction lacks its document's beginning.

        Raises
        ------
        UserError
            A character is not in the vocabulary, or there is less than a row.
        """
        tokens = [self.bos]
        for document in documents:
            tokens += [*self.encode(document), self.bos]
        stream = np.array(tokens, np.int16)
        begins = np.flatnonzero(stream == self.bos)
        starts, start = [], 0
        while start + length < len(stream):
            starts.append(start)
            start = begins[min(np.searchsorted(begins, start + length), len(begins) - 1)]
        if not starts:
            raise UserError(
                f"{len(documents)} documents have less than {length} characters together: "
                "give more, or a shorter context."
            )
        return stream[np.array(starts)[:, None] + np.arange(length + 1)]


def parts(rows: NDArray[np.integer]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield inputs and targets [documents, positions] of one part of the rows each, padded with -1.

    Documents of similar length are in one part, so that little padding is computed.
    """
    ordered = rows[np.argsort((rows >= 0).sum(axis=1), kind="stable")].astype(np.int64)
    for part in np.array_split(ordered, max(1, len(rows) // _PART)):
        part = part[:, : (part >= 0).sum(axis=1).max()]
        yield np.maximum(part[:, :-1], 0), part[:, 1:]
