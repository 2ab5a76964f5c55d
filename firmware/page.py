"""The page: the data of a model with which the chip shows its text and sets its temperature."""

from collections.abc import Sequence

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

SHIFT_AT, GREEDY_AT = MANTISSA_BITS, 14
"""Bit numbers in a scale, above its mantissa."""

UNKNOWN = ord("?")
"""Replaces characters that are not ASCII, which a terminal would show as something else, and the
tilde, which begins a frame on the serial line (see :mod:`.protocol`)."""

_TILDE = "~"


def has_page(tokenizer: Tokenizer) -> bool:
    """Tell whether a page has a character for every token; other models have no page."""
    return isinstance(tokenizer, Characters) and tokenizer.vocabulary <= SCALES


def check_page(config: ModelConfig) -> None:
    """Refuse a model that a serial line and a display of single characters cannot show.

    Raises
    ------
    UserError
        If it is of a family that no chip has been made for, or it has more tokens than a page has
        characters, or more positions than frames can name.
    """
    if config.family is not Family.MICROGPT:
        raise UserError(
            f"no board has the family {config.family} yet: simulate it ('generate', 'web'), or "
            "take its core alone ('verilog')"
        )
    if config.vocabulary > SCALES:
        raise UserError(
            f"a chip's serial line and display tell {SCALES} characters apart, and this model has "
            f"{config.vocabulary} tokens: simulate it, or take its core alone ('verilog')"
        )
    if config.context > MOST_POSITIONS:
        raise UserError(
            f"a chip's serial line counts {MOST_POSITIONS} positions, and this model has "
            f"{config.context}: simulate it, or take its core alone ('verilog')"
        )


def encode_page(model: IntegerModel) -> bytes:
    """Return a model's page, ``PAGE_BYTES`` long.

    The temperatures' scales are encoded by :func:`encode_scale`.

    Raises
    ------
    UserError
        If the model's tokens are no single characters.
    """
    scales = [encode_scale(model.logit_scale(temperature)) for temperature in TEMPERATURES]
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
    """
    shown = bytes(ord(c) if c.isascii() and c != _TILDE else UNKNOWN for c in characters)
    words = b"".join(scale.to_bytes(SCALE_BYTES, "little") for scale in scales)
    page = shown.ljust(SCALES, b"\0") + words + LABEL + DIGITS + unit + LINE_END
    texts = [text.encode().ljust(TEXT_BYTES, b"\0") for text in TEMPERATURE_TEXTS]
    return page.ljust(TEXTS_AT, b"\0") + b"".join(texts)


def encode_scale(scale: LogitScale) -> int:
    """Return a logit scale as the core takes it: mantissa, shift less one, greedy."""
    return scale.mantissa | scale.shift - 1 << SHIFT_AT | scale.greedy << GREEDY_AT
