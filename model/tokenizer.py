"""The interface of tokenizers: text to token ids and back, and the token rows that models take."""

import codecs
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from gptloom.model.errors import UserError
from gptloom.model.positions import Positions

PADDING = -1
"""Token id that fills the rows of documents shorter than the longest."""

_MOST_IDS = 1 << 15
"""Number of token ids that a row, in int16, can hold."""

_PART = 128
"""Number of documents computed at once: the scores of thousands would fill the memory."""

_SCORES = 1 << 20
"""Most scores of a head that are computed at once, for the same reason."""


class Tokenizer(ABC):
    """Text as token ids, 0 to `vocabulary` - 1.

    The kinds are in :mod:`gptloom.model.tokenizers`. Each says how a text becomes tokens and how
    many bytes of text a token adds; documents, streams and rows are the same for all.
    """

    @property
    @abstractmethod
    def vocabulary(self) -> int:
        """Number of token ids, `bos` and `end` included."""

    @property
    @abstractmethod
    def bos(self) -> int:
        """Id of the token that begins a document."""

    @property
    def end(self) -> int:
        """Id of the token that ends a document: `bos`, unless the kind has another one."""
        return self.bos

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Return a text's tokens, without `bos` and `end`.

        Raises
        ------
        UserError
            The tokenizer has no tokens for a part of the text.
        """

    @abstractmethod
    def piece(self, token: int, previous: int) -> bytes:
        """Return the UTF-8 bytes that a token adds to the text; they may be a part of a character.

        Parameters
        ----------
        token
            A token of the vocabulary, neither `bos` nor `end`.
        previous
            The token before it; `bos` at a document's beginning.
        """

    @abstractmethod
    def to_dict(self) -> dict[str, object]:
        """Return what makes an equal tokenizer by `from_dict`, ready for JSON."""

    def document(self, ids: Iterable[int]) -> list[int]:
        """Return the ids before the first `bos` or `end`.

        Raises
        ------
        UserError
            An id is not a token of the vocabulary.
        """
        document = list(takewhile(lambda i: i not in (self.bos, self.end), ids))
        for i in document:
            if not 0 <= i < self.vocabulary:
                raise UserError(f"{i} is not a token: use ids 0 to {self.vocabulary - 1}.")
        return document

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text up to the first `bos` or `end`, or of all ids if there is none.

        Bytes that are no UTF-8 become U+FFFD.

        Raises
        ------
        UserError
            An id is not a token of the vocabulary.
        """
        stream = TextStream(self)
        return "".join(map(stream.add, [*self.document(ids), self.end]))

    def labels(self) -> dict[int, str]:
        """Return a label for every token, on one line: for traces and waveforms."""
        labels = {i: self._label(i) for i in range(self.vocabulary)}
        return labels | {self.bos: "<begin>", self.end: "<end>"}

    def _label(self, token: int) -> str:
        piece = self.piece(token, token)
        try:
            label = repr(piece.decode())[1:-1]
        except UnicodeDecodeError:
            label = repr(piece)[2:-1]
        return label or f"<{token}>"

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
            int16, [documents, context + 1]: `bos`, the document, `end`, then `PADDING`.

        Raises
        ------
        UserError
            A document cannot be encoded, or ids do not fit the rows.
        """
        self._check_rows()
        rows = np.full((len(documents), context + 1), PADDING, dtype=np.int16)
        for row, document in zip(rows, documents, strict=True):
            tokens = [self.bos, *self.encode(document), self.end][: context + 1]
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
            A document cannot be encoded, there is less than a row, or ids do not fit the rows.
        """
        self._check_rows()
        between = [self.bos] if self.bos == self.end else [self.end, self.bos]
        tokens = [self.bos]
        for document in documents:
            tokens += [*self.encode(document), *between]
        stream = np.array(tokens, np.int16)
        begins = np.flatnonzero(stream == self.bos)
        starts, start = [], 0
        while start + length < len(stream):
            starts.append(start)
            start = begins[min(np.searchsorted(begins, start + length), len(begins) - 1)]
        if not starts:
            raise UserError(
                f"{len(documents)} documents have less than {length} tokens together: "
                "give more, or a shorter context."
            )
        return stream[np.array(starts)[:, None] + np.arange(length + 1)]

    def text_rows(self, text: str, length: int) -> np.ndarray:
        """Return a text as token rows that follow one another.

        Parameters
        ----------
        text
            The text; nothing is added to its tokens.
        length
            Predictions in a row.

        Returns
        -------
        numpy.ndarray
            int16, [rows, length + 1]. A row begins with the last token of the previous one, so that
            every token but the text's first is predicted once. The last row ends with `PADDING`.

        Raises
        ------
        UserError
            The text cannot be encoded, or ids do not fit the rows.
        """
        self._check_rows()
        tokens = np.array(self.encode(text), np.int16)
        starts = range(0, len(tokens) - 1, length)
        rows = np.full((len(starts), length + 1), PADDING, dtype=np.int16)
        for row, start in zip(rows, starts, strict=True):
            part = tokens[start : start + length + 1]
            row[: len(part)] = part
        return rows

    def _check_rows(self) -> None:
        if self.vocabulary > _MOST_IDS:
            raise UserError(
                f"token rows hold {_MOST_IDS:,} ids, and this tokenizer has {self.vocabulary:,}: "
                "give a model with a smaller vocabulary"
            )


class TextStream:
    """Tokens to text as they come; a character appears with the token that completes it.

    Bytes that are no UTF-8 become U+FFFD, as soon as that is sure.

    Parameters
    ----------
    tokenizer
        The tokens' meaning.
    """

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._previous = tokenizer.bos

    def add(self, token: int) -> str:
        """Return the text that a token completes; `bos` and `end` complete the document's."""
        tokenizer, previous = self._tokenizer, self._previous
        if token in (tokenizer.bos, tokenizer.end):
            self._previous = tokenizer.bos
            return self._decoder.decode(b"", final=True)
        self._previous = token
        return self._decoder.decode(tokenizer.piece(token, previous))


def check_text(text: str) -> None:
    """Refuse a text with bytes that were no characters where it was read.

    Raises
    ------
    UserError
        The text cannot be written as UTF-8.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"the text has {text[error.start]!r} after {error.start} characters, which is no "
            "character: give UTF-8 text"
        ) from None


def parts(rows: NDArray[np.integer]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield inputs and targets [documents, positions] of one part of the rows each, padded with -1.

    Documents of similar length are in one part, so that little padding is computed.
    """
    ordered = rows[np.argsort((rows >= 0).sum(axis=1), kind="stable")].astype(np.int64)
    least = ordered.size * ordered.shape[1] // _SCORES
    for part in np.array_split(ordered, max(1, len(rows) // _PART, min(least, len(rows)))):
        part = part[:, : (part >= 0).sum(axis=1).max()]
        yield np.maximum(part[:, :-1], 0), part[:, 1:]
