"""Files that hold tensors by name: safetensors, NumPy's, PyTorch's, JSON."""

import json
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np

from gptloom.model.errors import MissingPackageError, UserError
from gptloom.model.imports.safetensors_file import read_safetensors

_NESTED = ("weights", "state_dict", "model_state_dict")
"""Names under which programs save tensors beside other things."""


def read_state(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the tensors of a file, and whatever else it says, by name.

    Nothing in the file is executed.

    Raises
    ------
    UserError
        The file is damaged or no file of tensors, or a package that reads it is not installed.
    """
    reader = reader_of(path)
    if reader is None:
        raise UserError(f"{path} is no file of tensors")
    try:
        content = reader(path)
    except UserError:
        raise
    except Exception as error:  # damaged files make these readers fail in many ways
        raise UserError(
            f"{path} cannot be read ({type(error).__name__}: {str(error)[:200]}): give a whole "
            "file of tensors by name"
        ) from None
    return _split(path, content)


def reader_of(path: Path) -> Callable[[Path], Mapping[str, Any]] | None:
    """Return the function that reads a file, by its first bytes; None if there is none."""
    with path.open("rb") as file:
        start = file.read(512)
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 1 << 30:
        return _read_safetensors
    if start.startswith(b"\x93NUMPY"):
        return _read_npy
    if start.startswith(b"PK\3\4"):
        return _read_zip
    if start.startswith(b"\x80") and path.suffix in (".pt", ".pth"):
        return _read_torch
    if start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{"):
        return lambda path: json.loads(path.read_text("utf-8-sig"))
    return None


def _read_safetensors(path: Path) -> dict[str, Any]:
    arrays, metadata = read_safetensors(path)
    if metadata.get("format") == "gptloom-checkpoint":
        raise UserError(f"{path} is a GPTLoom checkpoint already: use it as it is")
    return {"weights": arrays, "metadata": metadata}


def _read_zip(path: Path) -> Mapping[str, Any]:
    try:
        with ZipFile(path) as archive:
            names = archive.namelist()
    except BadZipFile:
        raise UserError(f"{path} is cut short or damaged: copy it again") from None
    if any(name.endswith("data.pkl") for name in names):
        return _read_torch(path)
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def _read_npy(path: Path) -> Mapping[str, Any]:
    """Read a dictionary out of an .npy file, which has it as an array of one pickled object."""
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        header = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
        shape, _, kind = header[version[0]](file)
        content = _ArraysOnly(file).load() if kind.hasobject and shape == () else None
    if isinstance(content, np.ndarray) and content.shape == ():
        content = content.item()
    if not isinstance(content, Mapping):
        raise UserError(f"{path} holds no tensors by name: save a dictionary, or an .npz file")
    return content


_MAKE_ARRAYS = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    *(
        (f"numpy.{core}.multiarray", function)
        for core in ("core", "_core")
        for function in ("_reconstruct", "scalar")
    ),
}
"""Functions that a pickled array calls, by module and name; the module's depends on the version."""


class _ArraysOnly(pickle.Unpickler):
    """Reads arrays, numbers, text and their collections; refuses everything that could act."""

    def find_class(self, module: str, name: str) -> Any:
        """Return one of the few functions that make arrays."""
        if (module, name) not in _MAKE_ARRAYS:
            raise pickle.UnpicklingError(f"it would run {module}.{name}, and only arrays are read")
        return super().find_class(module, name)


def _read_torch(path: Path) -> Mapping[str, Any]:
    try:
        import torch
    except ModuleNotFoundError:
        raise MissingPackageError(
            f"{path} is a file of PyTorch: run pip install 'gptloom[train]', or save it as "
            ".safetensors or .npz"
        ) from None
    content = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(content, Mapping):
        raise UserError(f"{path} holds no tensors by name: save the model's state_dict()")

    def numpy(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: numpy(part) for name, part in value.items()}
        if not isinstance(value, torch.Tensor):
            return value
        value = value.detach()
        return (value.float() if value.dtype == torch.bfloat16 else value).numpy()

    return numpy(content)


def _split(path: Path, content: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the tensors and everything else."""
    if not isinstance(content, Mapping):
        raise UserError(f"{path} holds no tensors by name: give a file with a dictionary of them")
    nested = [content[name] for name in _NESTED if isinstance(content.get(name), Mapping)]
    others = {name: value for name, value in content.items() if name not in _NESTED}
    for name in ("metadata", "config"):
        if isinstance(others.get(name), Mapping):
            others |= others.pop(name)
    named = nested[0] if nested else content
    arrays = {}
    for name, value in named.items():
        array = _tensor(value)
        if array is not None:
            arrays[name] = array
            others.pop(name, None)
        elif nested:
            raise UserError(f"the tensor {name} of {path} is no array of numbers: save it as one")
    return arrays, others


def _tensor(value: Any) -> np.ndarray | None:
    """Return an array or nested lists of numbers as an array; None for anything else."""
    if isinstance(value, np.ndarray):
        return value if value.ndim and value.dtype.kind in "fiub" else None
    if not isinstance(value, list | tuple) or not value:
        return None
    try:
        array = np.array(value)
    except ValueError:  # rows of different lengths
        return None
    return array.astype(np.float64) if array.dtype.kind in "fi" else None
