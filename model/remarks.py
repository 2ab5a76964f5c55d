"""Sentences about a corpus, said before hours of training are spent on it."""

import importlib.util
from collections import Counter
from collections.abc import Iterable

from gptloom.model.config import ModelConfig
from gptloom.model.corpus import Corpus, speller
from gptloom.model.long_text import LongText
from gptloom.model.positions import Positions

RARE = 5
"""Number of documents below which a character in them is called odd."""

MOST_NAMED = 8
LONGEST_EXAMPLE = 30
CONTEXT_STEP = 4
"""Contexts are multiples of this in hardware."""


def remarks(corpus: Corpus | LongText, config: ModelConfig) -> list[str]:
    """Return sentences about omitted, cut and odd parts of the corpus; empty if all is well."""
    found = (*corpus.remarks, cut(corpus, config), odd(corpus))
    return [remark for remark in found if remark]


def cut(corpus: Corpus | LongText, config: ModelConfig) -> str:
    """Return a sentence about documents that are longer than the context, if there are any.

    Parameters
    ----------
    corpus
        The documents.
    config
        The shape. With positions that go on, documents follow one another, and none is cut.
    """
    if config.positions is not Positions.LEARNED or isinstance(corpus, LongText):
        return ""
    # The end of a document is predicted too.
    most = config.context - 1
    longer = sorted((d for d in corpus.documents if len(d) > most), key=len)
    if not longer:
        return ""
    example, longest = longer[0], len(longer[-1])
    if len(example) > LONGEST_EXAMPLE:
        example = f"{example[:LONGEST_EXAMPLE]}..."
    enough = -(-(longest + 1) // CONTEXT_STEP) * CONTEXT_STEP
    return (
        f"{len(longer):,} of {len(corpus.documents):,} documents have more than the {most} "
        f"characters that a context of {config.context} holds, such as {example!r}: the rest of "
        f"them, and their ends, are not seen. Shorten them, or train with --context {enough}, "
        f"which holds the longest, of {longest:,}."
    )


def odd(corpus: Corpus | LongText) -> str:
    """Return a sentence about characters that are rare or not ASCII, if there are any."""
    counts = Counter(character for document in corpus.documents for character in set(document))
    found = {c: n for c, n in sorted(counts.items()) if n < RARE or not c.isascii()}
    if not found:
        return ""
    named = [f"{c!r} in {n:,}" for c, n in sorted(found.items(), key=lambda item: item[1])]
    more = f" and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else ""
    fewer = [
        f"{option} leaves {left}"
        for option, left in _spellings(counts).items()
        if left < len(counts)
    ]
    advice = ", ".join(fewer) or "leave their documents out if they do not matter"
    return (
        f"{len(found)} of the {len(counts)} characters are odd, rare or not ASCII, and each is a "
        f"token: {', '.join(named[:MOST_NAMED])}{more} of {len(corpus.documents):,} documents. "
        f"To have fewer: {advice}."
    )


def _spellings(characters: Iterable[str]) -> dict[str, int]:
    """Return how many characters each option leaves."""
    options = {"--lower": (False, True)}
    if importlib.util.find_spec("anyascii"):
        options |= {"--ascii": (True, False), "--ascii --lower": (True, True)}
    text = "".join(characters)
    return {
        option: len(set(speller(ascii_only=ascii_only, lower=lower)(text)))
        for option, (ascii_only, lower) in options.items()
    }
