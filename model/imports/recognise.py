"""Files from elsewhere, recognised by their contents."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

from gptloom.model.checkpoint import Checkpoint
from gptloom.model.errors import UserError, explain
from gptloom.model.imports.hugging_face import CONFIG, read_hugging_face
from gptloom.model.imports.llama2c import read_llama2c
from gptloom.model.imports.microgpt import read_microgpt
from gptloom.model.imports.options import Options
from gptloom.model.imports.state import reader_of

KNOWN = (
    "a llama2.c .bin of version 0, a Hugging Face folder of a LlamaForCausalLM, or a microGPT's "
    "tensors as .safetensors, .npz, .npy, .pt or .json"
)
"""Everything that can be imported, in words."""

_FOREIGN = {
    b"24ka": "a llama2.c export of version 1 or 2",
    b"GGUF": "a GGUF file",
    b"tjgg": "a file of llama.cpp",
    b"\x89HDF": "an HDF5 file",
}
"""First bytes of files that have a name, and cannot be imported."""


@dataclass(frozen=True)
class Source:
    """A kind of files.

    Parameters
    ----------
    name
        Name in reports.
    read
        Function that reads it.
    options
        Fields of :class:`.Options` that say something about it.
    """

    name: str
    read: Callable[[Path, Options], Checkpoint]
    options: frozenset[str]


LLAMA2C = Source("llama2.c", read_llama2c, frozenset({"tokenizer", "context"}))
HUGGING_FACE = Source("Hugging Face", read_hugging_face, frozenset({"tokenizer", "context"}))
MICROGPT = Source(
    "microGPT", read_microgpt, frozenset({"tokenizer", "characters", "end", "heads"})
)  # fmt: skip


def recognise(path: Path) -> Source:
    """Return the kind of a file or folder.

    Raises
    ------
    UserError
        There is nothing, or nothing known.
    """
    if path.is_dir():
        if (path / CONFIG).is_file():
            return HUGGING_FACE
        raise UserError(f"{path} is a folder without {CONFIG}: give {KNOWN}")
    try:
        with path.open("rb") as file:
            start = file.read(4)
        if reader_of(path):
            return MICROGPT
    except OSError as error:
        raise UserError(f"{path} cannot be read {explain(error)}: give {KNOWN}") from None
    foreign = _FOREIGN.get(start)
    if foreign is None and path.suffix == ".bin":
        return LLAMA2C
    raise UserError(f"{path} is {foreign or 'nothing known'}: give {KNOWN}")


def read_model(path: Path, options: Options) -> tuple[Checkpoint, Source]:
    """Read a file or folder from elsewhere as a checkpoint without calibration rows.

    Raises
    ------
    UserError
        The file is not known, damaged, or a model that has no counterpart, or an option does not
        belong to its kind.
    """
    source = recognise(path)
    for field in fields(Options):
        unused = field.name not in source.options and field.name != "accept"
        if unused and getattr(options, field.name) is not None:
            raise UserError(f"{path} is a {source.name} model, which --{field.name} is not for")
    return source.read(path, options), source
