"""Trained weights on disk, with everything needed to evaluate and to quantise them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from gptloom.model.config import ModelConfig
from gptloom.model.errors import MissingPackageError, UserError
from gptloom.model.files import write_file
from gptloom.model.fingerprint import fingerprint, same_fingerprint
from gptloom.model.tokenizer import PADDING, Tokenizer
from gptloom.model.tokenizers.stored import (
    CHARACTERS,
    TOKENIZER,
    tokenizer_metadata,
    tokenizer_of,
)

FORMAT = "gptloom-checkpoint"
VERSION = 1
CALIBRATION = "calibration"
FINGERPRINT = "fingerprint"
"""Key of the metadata for a fingerprint of the computation; files from elsewhere may lack it."""

CALIBRATION_DOCUMENTS = 512


@dataclass(frozen=True)
class Checkpoint:
    """One trained model.

    Parameters
    ----------
    config
        The shape.
    tokenizer
        The meaning of the tokens: characters of the corpus, or pieces of text.
    weights
        float32 arrays by name, shaped as `ModelConfig.weight_shapes` says.
    calibration
        int16 [documents, context + 1], token rows of training documents (`Tokenizer.rows`), at
        most `CALIBRATION_DOCUMENTS`: from them the quantiser learns which values occur.
    metadata
        ``corpus`` (name, licence, size, split rule), ``heldout`` (the set's name and size, the
        float loss of these weights in nats per token, and that before quantisation-aware steps),
        ``baselines`` (the same set, nats per token) and ``training`` (command, seed, steps, ...).
    name
        Name in reports: that of the file it was loaded from.
    """

    config: ModelConfig
    tokenizer: Tokenizer
    weights: dict[str, np.ndarray]
    calibration: np.ndarray
    metadata: dict[str, Any] = field(default_factory=dict)
    name: str = ""


def save_checkpoint(path: str | Path, checkpoint: Checkpoint) -> None:
    """Write a safetensors file; a reader sees either all of it or the previous file.

    Raises
    ------
    UserError
        The file cannot be written there.
    """
    described = {
        **checkpoint.metadata,
        "version": VERSION,
        "config": checkpoint.config.to_dict(),
        **tokenizer_metadata(checkpoint.tokenizer),
        FINGERPRINT: fingerprint(checkpoint.config, checkpoint.weights),
    }
    tensors = {
        name: np.ascontiguousarray(checkpoint.weights[name], dtype=np.float32)
        for name in checkpoint.config.weight_shapes()
    }
    tensors[CALIBRATION] = np.ascontiguousarray(checkpoint.calibration, dtype=np.int16)
    # The values are JSON, because safetensors' metadata holds only strings.
    text = {key: json.dumps(value) for key, value in described.items()}
    write_file(path, _sort_header(save(tensors, metadata={"format": FORMAT, **text})))


def _sort_header(content: bytes) -> bytes:
    """Put a safetensors file's metadata into sorted order.

    The library writes them in a different order every time, but equal checkpoints should be equal
    files: that is how a reproduction is recognised.
    """
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    # Spaces keep the tensors aligned, as the format requires.
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[start:]


FOLDERS = {
    "plain": "checkpoints",
    "merged": "checkpoints/merged",
    "alibi": "checkpoints/alibi",
    "llama": "checkpoints/llama",
}
"""Folders of the shipped checkpoints, by the form that they were trained for or their family."""


def shipped_checkpoints(form: str = "plain") -> tuple[str, ...]:
    """Return the names of the checkpoints that come with the package.

    Parameters
    ----------
    form
        ``plain``: good for both forms; ``merged``: refined for few bits in the merged form;
        ``alibi``: for endless documents; ``llama``: of that family.
    """
    names = (Path(entry.name) for entry in _folder(form).iterdir())
    return tuple(sorted(name.stem for name in names if name.suffix == ".safetensors"))


def _folder(form: str) -> Path:
    return Path(str(resources.files("gptloom.model").joinpath(FOLDERS[form])))


def load_checkpoint(path_or_name: str | Path) -> Checkpoint:
    """Load a checkpoint from a file, or a shipped one of any form by its bare name (``names``).

    Raises
    ------
    UserError
        There is no such file or name; the file is cut short or no checkpoint; a tensor is
        missing, misshapen or holds NaN or infinity; vocabulary and tokenizer differ; the
        weights do not compute what they did when they were saved; or a package that runs the
        tokenizer is not installed.
    """
    path = _resolve(path_or_name)
    metadata, tensors = _read(path)
    try:
        described = {key: json.loads(value) for key, value in metadata.items() if key != "format"}
        config = ModelConfig.from_dict(described.pop("config"))
        tokenizer = tokenizer_of(described)
        described = {k: v for k, v in described.items() if k not in (CHARACTERS, TOKENIZER)}
        version = described.pop("version")
        saved = [float(value) for value in described.pop(FINGERPRINT, ())]
        _check_losses(described)
    except MissingPackageError as error:
        raise MissingPackageError(f"{path}: {error}") from None
    except (KeyError, TypeError, ValueError, UserError) as error:
        raise UserError(
            f"{path} has unusable metadata ({error}): make the checkpoint anew with gptloom train."
        ) from None
    if version != VERSION:
        raise UserError(
            f"{path} is a checkpoint of version {version}: "
            f"this program reads version {VERSION}, make it anew with gptloom train."
        )
    if tokenizer.vocabulary != config.vocabulary:
        raise UserError(
            f"{path} has a tokenizer of {tokenizer.vocabulary} tokens for a model of "
            f"{config.vocabulary}: make it anew with the tokenizer that the model was trained with."
        )
    for name, shape in config.weight_shapes().items():
        _check_tensor(path, tensors, name, shape)
        if not np.isfinite(tensors[name]).all():
            raise UserError(f"The tensor {name} of {path} holds NaN or infinity: train it anew.")
    documents = len(tensors[CALIBRATION]) if np.ndim(tensors.get(CALIBRATION)) else 0
    documents = min(max(documents, 1), CALIBRATION_DOCUMENTS)
    _check_tensor(path, tensors, CALIBRATION, (documents, config.context + 1))
    calibration = tensors[CALIBRATION]
    if calibration.min() < PADDING or calibration.max() >= config.vocabulary:
        raise UserError(
            f"The tensor {CALIBRATION} of {path} holds ids outside the vocabulary of "
            f"{config.vocabulary}: make the checkpoint anew with gptloom train."
        )
    weights = {name: tensors[name] for name in config.weight_shapes()}
    if saved and not same_fingerprint(saved, fingerprint(config, weights)):
        raise UserError(
            f"{path} does not compute what it did when it was saved: its weights or its metadata "
            "were damaged or exchanged, so copy it again, or train it anew."
        )
    return Checkpoint(config, tokenizer, weights, calibration, described, path.stem)


def _resolve(path_or_name: str | Path) -> Path:
    path = Path(path_or_name)
    shipped = {name: form for form in FOLDERS for name in shipped_checkpoints(form)}
    if isinstance(path_or_name, str) and path_or_name in shipped:
        return _folder(shipped[path_or_name]) / f"{path_or_name}.safetensors"
    if not path.is_file():
        raise UserError(
            f"There is no checkpoint {path_or_name}: give a file, or one of {', '.join(shipped)}."
        )
    return path


def _read(path: Path) -> tuple[Mapping[str, str], dict[str, np.ndarray]]:
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, TypeError, OSError) as error:
        raise UserError(
            f"{path} is no whole safetensors file ({error}): copy or train it anew."
        ) from None
    if metadata.get("format") != FORMAT:
        raise UserError(
            f"{path} is a safetensors file but no GPTLoom checkpoint: make one with gptloom train."
        )
    return metadata, tensors


def _check_losses(described: Mapping[str, Any]) -> None:
    """Raise ValueError if stated losses cannot be compared with measured ones."""
    corpus, heldout = (described.get(key, {}) for key in ("corpus", "heldout"))
    if not isinstance(corpus, dict) or not isinstance(heldout, dict):
        raise ValueError("corpus and heldout must be objects")
    for key in ("loss", "float_phase_loss"):
        if not isinstance(heldout.get(key, 0.0), int | float):
            raise ValueError(f"{key} must be a number")


def _check_tensor(
    path: Path, tensors: Mapping[str, np.ndarray], name: str, shape: tuple[int, ...]
) -> None:
    if name not in tensors:
        raise UserError(
            f"The tensor {name} is missing from {path}: make it anew with gptloom train."
        )
    if tensors[name].shape != shape:
        raise UserError(
            f"The tensor {name} of {path} has shape {tensors[name].shape} instead of {shape}: "
            "make it anew with gptloom train."
        )
