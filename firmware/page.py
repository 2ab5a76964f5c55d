"""The page: the data of a model with which the chip shows its text and sets its temperature."""

from collections.abc import Sequence
from itertools import accumulate

from gptloom.model.arithmetic import MANTISSA_BITS
from gptloom.model.config import ModelConfig
from gptloom.model.errors import UserError
from gptloom.model.family import Family
from gptloom.model.integer import IntegerModel, LogitScale
from gptloom.model.tokenizer import Tokenizer
from gptloom.model.tokenizers.characters import Characters, characters_of

MOST_POSITIONS = 256
"""Number of positions that a byte of a frame can name."""

TEMPERATURES = (0.7, 1.0, 1.5, 0.4)
"""Temperatures that a board's button steps through; the first one holds from power-on."""

SCALES = 64
"""Address of the first temperature's scale; the characters of the tokens are before it."""

SCALE_BYTES = 2

LABEL, DIGITS, UNIT, LINE_END = b"weights ", b"0123456789ABCDEF", b" tokens/s", b"\r\n"
"""Other text sent on a serial line, so that every character is read from the page."""

THOUSANDS = b"k token/s"
"""Unit of a speed above ten million, as long as the other one."""

TEMPERATURE_TEXTS = tuple(f"temperature {temperature:.1f}" for temperature in TEMPERATURES)
"""Displayed names of the temperatures, 15 characters each."""

TEXT_BYTES = 16
"""Bytes of a temperature's text and a zero."""

LABEL_AT = SCALES + SCALE_BYTES * len(TEMPERATURES)
DIGITS_AT = LABEL_AT + len(LABEL)
UNIT_AT = DIGITS_AT + len(DIGITS)
TEXTS_AT = 128
PAGE_BYTES = TEXTS_AT + TEXT_BYTES * len(TEMPERATURES)

INDEX_AT, INDEX_BYTES = PAGE_BYTES, 2
"""Address of the index on a page of text, and bytes of an entry, the lower one first: where each
token's text begins, counted from the index, and, one entry later, where it ends."""

TEXT_MEMORY = 2048
"""Bytes of which index and text take a multiple: a block RAM of an ECP5 holds as many."""

SHIFT_AT, GREEDY_AT = MANTISSA_BITS, 14
"""Bit numbers in a scale, above its mantissa."""

UNKNOWN = ord("?")
"""Replaces characters that are not ASCII, which a terminal would show as something else, and the
tilde, which begins a frame on the serial line (see :mod:`.protocol`)."""

_TILDE = "~"


def writes_text(model: IntegerModel) -> bool:
    """Tell whether a chip writes a model's documents as text, token by token as they come.

    Other chips show names: each token is a character, and of documents only whole ones are shown.
    """
    return model.config.family is Family.LLAMA or not _has_characters(model.tokenizer)


def _has_characters(tokenizer: Tokenizer) -> bool:
    return isinstance(tokenizer, Characters) and tokenizer.vocabulary <= SCALES


def is_text(page: Sequence[int]) -> bool:
    """Tell whether a page is one of text."""
    return len(page) > PAGE_BYTES


def check_page(config: ModelConfig) -> None:
    """Refuse a model of names with more positions than frames can name.

    Raises
    ------
    UserError
        Naming both numbers.
    """
    if config.context > MOST_POSITIONS:
        raise UserError(
            f"a chip's serial line counts {MOST_POSITIONS} positions, and this model has "
            f"{config.context}: simulate it, or take its core alone ('verilog')"
        )


def encode_page(model: IntegerModel) -> bytes:
    """Return a model's page, ``PAGE_BYTES`` long, or a page of text.

    The temperatures' scales are encoded by :func:`encode_scale`.

    Raises
    ------
    UserError
        If the tokens' text is longer than addresses reach.
    """
    scales = [encode_scale(model.logit_scale(temperature)) for temperature in TEMPERATURES]
    if writes_text(model):
        return make_text_page(model.tokenizer, scales)
    return make_page(characters_of(model.tokenizer), scales)


def make_page(characters: str, scales: Sequence[int], unit: bytes = UNIT) -> bytes:
    """Return a page.

    It holds a character for each token (0 for those that have none), two bytes for each of
    ``TEMPERATURES``, the lower first, and the texts of the serial line.

    Parameters
    ----------
    characters
        Characters of the tokens.
    scales
        The core's input for each of ``TEMPERATURES``, up to 16 bits.
    unit
        Unit of the speed, as long as ``UNIT``.

    Raises
    ------
    UserError
        If there are more tokens than a page has characters.
    """
    vocabulary = len(characters) + 1
    if vocabulary > SCALES:
        raise UserError(
            f"a chip's serial line and display tell {SCALES} characters apart, and this model has "
            f"{vocabulary} tokens: simulate it, or take its core alone ('verilog')"
        )
    shown = bytes(ord(c) if c.isascii() and c != _TILDE else UNKNOWN for c in characters)
    words = b"".join(scale.to_bytes(SCALE_BYTES, "little") for scale in scales)
    page = shown.ljust(SCALES, b"\0") + words + LABEL + DIGITS + unit + LINE_END
    texts = [text.encode().ljust(TEXT_BYTES, b"\0") for text in TEMPERATURE_TEXTS]
    return page.ljust(TEXTS_AT, b"\0") + b"".join(texts)


def make_text_page(tokenizer: Tokenizer, scales: Sequence[int]) -> bytes:
    """Return a page without characters, followed by an index and the text of all tokens.

    Parameters
    ----------
    tokenizer
        Tokens. The one that ends a document has a line's end as its text.
    scales
        See :func:`make_page`.

    Raises
    ------
    UserError
        If the text is longer than an entry of the index reaches.
    """
    texts = [_shown(tokenizer, token) for token in range(tokenizer.vocabulary)]
    places = [*accumulate(map(len, texts), initial=INDEX_BYTES * (len(texts) + 1))]
    most = (1 << 8 * INDEX_BYTES) - 1
    if places[-1] > most:
        raise UserError(
            f"the text of all tokens takes {places[-1]:,} bytes on a chip, which has room for "
            f"{most:,}: use a tokenizer with fewer or shorter pieces"
        )
    index = b"".join(place.to_bytes(INDEX_BYTES, "little") for place in places)
    text = index + b"".join(texts)
    return make_page("", scales) + text.ljust(-(-len(text) // TEXT_MEMORY) * TEXT_MEMORY, b"\0")


def _shown(tokenizer: Tokenizer, token: int) -> bytes:
    """Return a token's bytes as a terminal takes them."""
    if token in (tokenizer.bos, tokenizer.end):
        return LINE_END
    text = tokenizer.piece(token, token).replace(b"\n", LINE_END)
    return bytes(c if c >= ord(" ") or c in LINE_END + b"\t" else UNKNOWN for c in text)


def encode_scale(scale: LogitScale) -> int:
    """Return a logit scale as the core takes it: mantissa, shift less one, greedy."""
    return scale.mantissa | scale.shift - 1 << SHIFT_AT | scale.greedy << GREEDY_AT
