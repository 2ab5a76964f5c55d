"""Invisible characters, which must not become tokens."""

import unicodedata
from collections.abc import Sequence

INVISIBLE = ("Cc", "Cf")
"""Unicode categories: control characters, NUL among them, and characters without width."""

MOST_NAMED = 4


def without_invisible(lines: Sequence[str], name: str) -> tuple[list[str], tuple[str, ...]]:
    """Drop invisible characters; those that separate words, like a tab, become spaces.

    Parameters
    ----------
    lines
        Lines of a text.
    name
        Name of the text.

    Returns
    -------
    list of str, tuple of str
        The lines, and a sentence that says what was dropped where, if anything was.
    """
    characters = set().union(*lines)
    found = sorted(c for c in characters if unicodedata.category(c) in INVISIBLE)
    if not found:
        return list(lines), ()
    spelling = str.maketrans({c: " " if c.isspace() else "" for c in found})
    places = [_places(character, lines) for character in found[:MOST_NAMED]]
    more = [f"{len(found) - MOST_NAMED} others"] if len(found) > MOST_NAMED else []
    remark = (
        f"{name} has characters that nobody sees: {', '.join([*places, *more])}. They are no part "
        "of the corpus; those that separate words become spaces."
    )
    return [line.translate(spelling) for line in lines], (remark,)


def _places(character: str, lines: Sequence[str]) -> str:
    """Return a character's name and its place."""
    numbers = [number for number, line in enumerate(lines, start=1) if character in line]
    name = unicodedata.name(character, "").lower()
    more = f" and {len(numbers) - 1} more" if len(numbers) > 1 else ""
    return f"U+{ord(character):04X}{f' ({name})' if name else ''} in line {numbers[0]}{more}"
