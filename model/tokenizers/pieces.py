"""Byte pairs as llama2.c has them: pieces with scores, of which the best pair is merged first."""

import math
import re
import struct
from collections.abc import Iterator, Sequence
from heapq import heapify, heappop, heappush
from pathlib import Path

from gptloom.model.errors import UserError, explain
from gptloom.model.tokenizer import Tokenizer, check_text

_BOS = 1
"""Token that begins a document, and at which the program run.c ends one."""

_FIRST_BYTE = 3
"""Token of the byte 0; those before it are unknown, begin and end."""

_LEAST_SCORE = -1e10
"""A pair whose piece has no better score is never merged."""

_BYTE = re.compile(rb"<0x([0-9A-Fa-f]{1,2})")
"""Beginning of a piece that stands for a byte, as the program's sscanf recognises it."""


class Pieces(Tokenizer):
    """The tokenizer of llama2.c's program run.c, token for token.

    A text that is not empty gets a space in front, its characters become pieces (or bytes, if there
    is no such piece), and the adjacent pair that makes the piece with the best score is merged,
    the first of equal ones, until no pair makes a piece. The space is left out of decoded text.

    Parameters
    ----------
    pieces
        UTF-8 bytes of each token's text. If two are equal, text becomes the one that the program's
        binary search meets.
    scores
        Score of each piece.

    Raises
    ------
    UserError
        There are fewer than three tokens, a piece is empty or has a byte 0, or a score is NaN or
        infinite.
    """

    def __init__(self, pieces: Sequence[bytes], scores: Sequence[float]):
        if len(pieces) != len(scores) or len(pieces) < _FIRST_BYTE:
            raise UserError(
                f"{len(pieces)} pieces with {len(scores)} scores are no vocabulary: give one score "
                f"for each, and {_FIRST_BYTE} pieces or more"
            )
        for token, (piece, score) in enumerate(zip(pieces, scores, strict=True)):
            if not piece or b"\0" in piece:
                raise UserError(f"the piece {piece!r} of token {token} is empty or has a byte 0")
            if not math.isfinite(score):
                raise UserError(f"the score of token {token} is {score}")
        self._pieces, self._scores = tuple(pieces), tuple(scores)
        self._ids = _index(self._pieces)

    @property
    def vocabulary(self) -> int:
        """Number of token ids."""
        return len(self._pieces)

    @property
    def bos(self) -> int:
        """Id of the token that begins and ends every document."""
        return _BOS

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text, without `bos`.

        Raises
        ------
        UserError
            The text has a character without a piece, and there are no tokens for its bytes.
        """
        check_text(text)
        tokens = [token for c in " " * bool(text) + text for token in self._start(c)]
        return self._merge(tokens)

    def _start(self, character: str) -> Sequence[int]:
        """Return the tokens that a character begins as."""
        content = character.encode()
        if content in self._ids:
            return (self._ids[content],)
        tokens = [byte + _FIRST_BYTE for byte in content]
        known = (self.piece(token, token) for token in tokens if token < self.vocabulary)
        if b"".join(known) != content:
            raise UserError(
                f"The character {character!r} is not in the vocabulary, which has no tokens for "
                "its bytes either: leave it out."
            )
        return tokens

    def _merge(self, tokens: list[int]) -> list[int]:
        """Merge pairs in the order of their scores, from left to right among equals.

        The pairs wait in a heap. A token that is merged into the one on its left becomes None, and
        a waiting pair whose tokens have changed since is passed over.
        """
        count = len(tokens)
        after, before = [*range(1, count), None], [None, *range(count - 1)]

        def pair(left: int | None) -> Iterator[tuple[float, int, int, int, int]]:
            if left is not None and (right := after[left]) is not None:
                one, other = tokens[left], tokens[right]
                merged = self._ids.get(self._pieces[one] + self._pieces[other])
                if merged is not None and self._scores[merged] > _LEAST_SCORE:
                    yield -self._scores[merged], left, one, other, merged

        waiting = [found for left in range(count) for found in pair(left)]
        heapify(waiting)
        while waiting:
            _, left, one, other, merged = heappop(waiting)
            right = after[left]
            if right is None or (tokens[left], tokens[right]) != (one, other):
                continue
            tokens[left], tokens[right] = merged, None
            after[left] = after[right]
            if after[left] is not None:
                before[after[left]] = left
            for found in (*pair(before[left]), *pair(left)):
                heappush(waiting, found)
        return [token for token in tokens if token is not None]

    def piece(self, token: int, previous: int) -> bytes:
        """Return a token's bytes; at a document's beginning without the space in front."""
        piece = self._pieces[token]
        if previous == _BOS:
            piece = piece.removeprefix(b" ")
        byte = _BYTE.match(piece)
        return bytes([int(byte[1], 16)]) if byte else piece

    def to_dict(self) -> dict[str, object]:
        """Return pieces, as text that keeps bytes that are no UTF-8, and scores."""
        pieces = [piece.decode("utf-8", "surrogateescape") for piece in self._pieces]
        return {"pieces": pieces, "scores": list(self._scores)}

    def to_encode(self) -> dict[str, object]:
        """Return what a text is encoded with elsewhere, ready for JSON.

        Pieces, and their tokens by piece, are text with a character for each byte.
        """
        has_bytes = all(
            self.vocabulary > byte + _FIRST_BYTE
            and self.piece(byte + _FIRST_BYTE, byte + _FIRST_BYTE) == bytes([byte])
            for byte in range(1, 256)
        )
        return {
            "pieces": [piece.decode("latin-1") for piece in self._pieces],
            "ids": {piece.decode("latin-1"): token for piece, token in self._ids.items()},
            "scores": list(self._scores),
            "firstByte": _FIRST_BYTE if has_bytes else None,
            "leastScore": _LEAST_SCORE,
        }

    @classmethod
    def from_dict(cls, stored: dict[str, list]) -> "Pieces":
        """Make the tokenizer that `to_dict` described."""
        pieces = [str.encode(piece, "utf-8", "surrogateescape") for piece in stored["pieces"]]
        return cls(pieces, [float(score) for score in stored["scores"]])


def _index(pieces: Sequence[bytes]) -> dict[bytes, int]:
    """Return the tokens by piece; among equal ones the one that a binary search meets first."""
    order = sorted(range(len(pieces)), key=pieces.__getitem__)
    found: dict[bytes, int] = {}
    spans = [(0, len(order))]
    for low, high in spans:  # which grows: wide spans come before those within them
        if low < high:
            middle = (low + high) // 2
            found.setdefault(pieces[order[middle]], order[middle])
            spans += [(low, middle), (middle + 1, high)]
    return found


def read_pieces(path: str | Path, vocabulary: int) -> Pieces:
    """Read a tokenizer's file as llama2.c writes it.

    The file has an int32, the longest piece's number of bytes; then for each token a float32, its
    score, an int32, its piece's number of bytes, and the piece.

    Parameters
    ----------
    path
        The file.
    vocabulary
        Number of tokens, which the file does not tell: that of the checkpoint.

    Raises
    ------
    UserError
        The file cannot be read, is no such file, or has another number of tokens.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"the tokenizer {path} cannot be read {explain(error)}") from None
    try:
        return Pieces(*_parse(content, vocabulary))
    except UserError as fault:
        raise UserError(
            f"{path} is no llama2.c tokenizer of {vocabulary} tokens ({fault}): give the one that "
            "belongs to the checkpoint"
        ) from None


def _parse(content: bytes, vocabulary: int) -> tuple[list[bytes], list[float]]:
    pieces, scores, at = [], [], 4
    for token in range(vocabulary):
        if at + 8 > len(content):
            raise UserError(f"the file ends before token {token}")
        score, length = struct.unpack_from("<fi", content, at)
        at += 8
        if length < 1 or at + length > len(content):
            left = len(content) - at
            raise UserError(f"token {token} is said to have {length} bytes, and {left} are left")
        pieces.append(content[at : at + length])
        scores.append(score)
        at += length
    if at < len(content):
        raise UserError(f"{len(content) - at} bytes follow the last token")
    longest, said = max(map(len, pieces), default=0), int.from_bytes(content[:4], "little")
    if longest > said:
        raise UserError(f"a piece has {longest} bytes, and the file says {said} at most")
    return pieces, scores
