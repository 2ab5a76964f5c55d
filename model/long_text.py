"""A corpus that is one long text, of which a model sees pieces as long as its context."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from hashlib import sha256
from pathlib import Path

import numpy as np

from gptloom.model.config import ModelConfig
from gptloom.model.corpus import read_lines, speller
from gptloom.model.errors import UserError
from gptloom.model.invisible import without_invisible
from gptloom.model.rows import Rows
from gptloom.model.tokenizer import PADDING, Tokenizer
from gptloom.model.tokenizers.characters import Characters

_TENTHS = 9
"""Tenths of the text that are trained on; the rest, its end, is kept for measurement."""

SPLIT_RULE = "the last tenth of the characters is held out"
"""Rule that tells the held-out part from that for training, in words."""

BEGINNINGS = 0.1
"""Share of the pieces in training that begin where a passage does, after the document's marker.

From these a model learns what comes first when it writes; all others begin anywhere.
"""


@dataclass(frozen=True)
class LongText:
    """One long text; passages are what blank lines separate.

    Parameters
    ----------
    name
        Name of the corpus in reports.
    licence
        Terms of the text, as far as known.
    text
        All of it.
    remarks
        Sentences about parts of the source that are missing from the text.
    """

    name: str
    licence: str
    text: str
    remarks: tuple[str, ...] = ()

    @cached_property
    def documents(self) -> tuple[str, ...]:
        """The passages."""
        return tuple(passage for part in self.text.split("\n\n") if (passage := part.strip("\n")))

    @property
    def heldout_name(self) -> str:
        """The part that the held-out loss is measured on, in words."""
        return f"the last tenth of {self.name}"

    @cached_property
    def tokenizer(self) -> Characters:
        """Tokenizer that knows every character of the text."""
        return Characters.from_documents([self.text])

    def describe(self, rows: Rows) -> dict[str, object]:
        """Return what a checkpoint's metadata say of the corpus, from which the rows are."""
        return {
            "name": self.name,
            "licence": self.licence,
            "sha256": sha256(self.text.encode()).hexdigest(),
            "characters": len(self.text),
            "training_characters": int((rows.training[:, 1:] != PADDING).sum()),
            "split": SPLIT_RULE,
        }

    def rows(self, tokenizer: Tokenizer, config: ModelConfig) -> Rows:
        """Return the token rows of the text.

        Those to measure on follow one another, so that every character but the first is predicted
        once. Minibatches begin anywhere, some of their rows where a passage begins (`BEGINNINGS`).

        Parameters
        ----------
        tokenizer
            Meaning of the tokens.
        config
            The shape; rows have its context.

        Raises
        ------
        UserError
            The text is too short, or cannot be encoded.
        """
        context = config.context
        split = len(self.text) * _TENTHS // 10
        training, heldout = self.text[:split], self.text[split:]
        if len(heldout) <= context:
            raise UserError(
                f"{self.name} has {len(self.text):,} characters, too few for rows of {context}, a "
                f"tenth of them held out: give {10 * context + 1:,} or more, or a shorter context"
            )
        return Rows(
            training=tokenizer.text_rows(training, context),
            heldout=tokenizer.text_rows(heldout, context),
            batches=partial(_batches, training, tokenizer, context),
        )


def read_text(path: Path, *, ascii_only: bool = False, lower: bool = False) -> LongText:
    """Read a file that is one long text.

    Ends of lines become those of Unix; invisible characters are removed. The parameters are those
    of :func:`.load_corpus`.

    Raises
    ------
    UserError
        The file cannot be read, or the package that transliterates is not installed.
    """
    lines, remarks = without_invisible(read_lines(path), path.name)
    spell = speller(ascii_only=ascii_only, lower=lower)
    return LongText(path.name, "unknown", spell("\n".join([*lines, ""])), remarks)


def _batches(
    text: str, tokenizer: Tokenizer, context: int, size: int, random: np.random.Generator
) -> Iterator[np.ndarray]:
    begins = np.array([found.end() for found in re.finditer(r"\A|\n\n+", text)])
    begins = begins[begins + context <= len(text)]
    # Few beginnings are not to be learned by heart.
    share = min(BEGINNINGS, len(begins) * context / len(text))
    # The token before a beginning has the same index as the beginning has in the text.
    tokens = np.array([tokenizer.bos, *tokenizer.encode(text)], np.int16)
    while True:
        starts = random.integers(1, len(tokens) - context, size)
        chosen = random.random(size) < share
        starts[chosen] = random.choice(begins, int(chosen.sum()))
        rows = tokens[starts[:, None] + np.arange(context + 1)]
        rows[chosen, 0] = tokenizer.bos
        yield rows
