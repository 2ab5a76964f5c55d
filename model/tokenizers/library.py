"""A tokenizer.json, by the package tokenizers, whose format it is."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

from gptloom.model.errors import MissingPackageError, UserError, explain
from gptloom.model.tokenizer import Tokenizer, check_text

_BYTE = re.compile("<0x([0-9A-F]{2})>")
"""Name of a token that stands for a byte, if the decoder knows such tokens."""


class Library(Tokenizer):
    """A tokenizer that the package tokenizers runs.

    Every text is plain: the names of special tokens in it do not become these tokens.

    Parameters
    ----------
    definition
        Content of a ``tokenizer.json``.
    bos, end
        Tokens that begin and end a document, which stand in the model's ``config.json``.

    Raises
    ------
    MissingPackageError
        The package is not installed.
    UserError
        The definition is none, or it has no such tokens.
    """

    def __init__(self, definition: str, bos: int, end: int):
        try:
            import tokenizers
        except ModuleNotFoundError:
            raise MissingPackageError(
                "A tokenizer.json needs the package tokenizers: run pip install 'gptloom[import]'."
            ) from None
        try:
            self._library = tokenizers.Tokenizer.from_str(definition)
        except Exception as error:  # the package has no narrower class
            raise UserError(f"the package tokenizers cannot use it ({error})") from None
        self._library.no_truncation()
        self._library.no_padding()
        self._library.encode_special_tokens = True
        ids = self._library.get_vocab().values()
        self._vocabulary = max(ids, default=-1) + 1
        for name, token in (("begins", bos), ("ends", end)):
            if token not in ids:
                raise UserError(
                    f"the token that {name} a document is {token!r}, which is not in it"
                )
        self._bos, self._end = bos, end
        self._definition = self._library.to_str()
        described = json.loads(self._definition)
        self._special = {t["id"] for t in described["added_tokens"] if t["special"]} | {bos, end}
        model = described["model"]
        # One kind of model names the token for what it does not know by its number.
        self._unknown = model.get("unk_id", self._library.token_to_id(model.get("unk_token") or ""))
        decoder = json.dumps(described["decoder"])
        self._letters = _letters(tokenizers) if '"ByteLevel"' in decoder else None
        self._has_bytes = '"ByteFallback"' in decoder

    @property
    def vocabulary(self) -> int:
        """Number of token ids, up to the largest."""
        return self._vocabulary

    @property
    def bos(self) -> int:
        """Id of the token that begins a document."""
        return self._bos

    @property
    def end(self) -> int:
        """Id of the token that ends a document."""
        return self._end

    def encode(self, text: str) -> list[int]:
        """Return a text's tokens, without those that begin and end a document.

        Raises
        ------
        UserError
            A part of the text is unknown.
        """
        check_text(text)
        encoding = self._library.encode(text, add_special_tokens=False)
        if self._unknown in encoding.ids:
            begin, end = encoding.offsets[encoding.ids.index(self._unknown)]
            raise UserError(f"The tokenizer has no token for {text[begin:end]!r}: leave it out.")
        return encoding.ids

    def piece(self, token: int, previous: int) -> bytes:
        """Return what a token adds to the decoded text of the one before it."""
        name = self._library.id_to_token(token)
        if name is None or token in self._special:
            return b""
        if self._letters is not None:
            # A name with other letters was added as it is.
            known = all(letter in self._letters for letter in name)
            return bytes(map(self._letters.get, name)) if known else name.encode()
        first = self._library.decode([token]) if previous == self._bos else None
        byte = _BYTE.fullmatch(name) if self._has_bytes else None
        if byte and first != "":  # as that of a space in front is
            return bytes.fromhex(byte[1])
        if first is not None:
            return first.encode()
        # Special tokens add nothing, but the text has begun.
        before = token if previous in self._special else previous
        text = self._library.decode([before, token])
        return text.removeprefix(self._library.decode([before])).encode()

    def to_dict(self) -> dict[str, object]:
        """Return the definition and the two tokens."""
        return {"definition": self._definition, "bos": self._bos, "end": self._end}

    @classmethod
    def from_dict(cls, stored: Mapping[str, object]) -> "Library":
        """Make the tokenizer that `to_dict` described."""
        return cls(stored["definition"], stored["bos"], stored["end"])


def _letters(tokenizers) -> dict[str, int]:
    """Return the bytes by the letters that names of byte-level tokens have for them.

    Printable characters of Latin-1 stand for their bytes; the other letters, in order, for the
    other bytes.
    """
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    own = {letter: ord(letter) for letter in alphabet if ord(letter) < 256}
    others = sorted({*range(256)} - {*own.values()})
    return own | dict(zip(alphabet[len(own) :], others, strict=True))


def read_library(path: str | Path, bos: int, end: int) -> Library:
    """Read a ``tokenizer.json``.

    Parameters
    ----------
    path
        The file.
    bos, end
        Tokens that begin and end a document.

    Raises
    ------
    MissingPackageError
        The package tokenizers is not installed.
    UserError
        The file cannot be read, is no such file, or has no such tokens.
    """
    try:
        definition = Path(path).read_text("utf-8")
    except OSError as error:
        raise UserError(f"the tokenizer {path} cannot be read {explain(error)}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text: give a tokenizer.json") from None
    try:
        return Library(definition, bos, end)
    except MissingPackageError:
        raise
    except UserError as fault:
        raise UserError(f"{path} is no tokenizer.json of this model: {fault}") from None
