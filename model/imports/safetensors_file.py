"""Safetensors files with any kind of numbers that NumPy has, and bfloat16."""

import json
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, deserialize

from gptloom.model.errors import UserError, explain

_TYPES = {
    **{f"F{bits}": f"<f{bits // 8}" for bits in (16, 32, 64)},
    **{f"{kind}{bits}": f"<{kind.lower()}{bits // 8}" for kind in "IU" for bits in (8, 16, 32, 64)},
    "BOOL": "?",
}


def read_safetensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return a file's tensors and its metadata.

    Raises
    ------
    UserError
        The file cannot be read, is cut short, or holds other numbers, as quantised files do.
    """
    try:
        content = path.read_bytes()
        tensors = deserialize(content)
    except OSError as error:
        raise UserError(f"{path} cannot be read {explain(error)}") from None
    except SafetensorError as error:
        raise UserError(f"{path} is no whole safetensors file ({error}): copy it again.") from None
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    arrays = {name: _array(path, name, tensor) for name, tensor in tensors}
    return arrays, header.get("__metadata__", {})


def _array(path: Path, name: str, tensor: dict) -> np.ndarray:
    kind, shape = tensor["dtype"], tensor["shape"]
    if kind == "BF16":
        # Its bits are the first ones of a float32.
        upper = np.frombuffer(tensor["data"], "<u2").astype("<u4") << 16
        return upper.view("<f4").reshape(shape)
    if kind not in _TYPES:
        raise UserError(
            f"The tensor {name} of {path} holds {kind}, as quantised files do: give the model "
            "before it was quantised."
        )
    return np.frombuffer(tensor["data"], _TYPES[kind]).reshape(shape)
