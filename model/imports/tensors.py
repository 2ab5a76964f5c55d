"""Tensors of a file from elsewhere, each taken once, so that none is overlooked."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from gptloom.model.errors import UserError

_MOST_NAMED = 3


class Tensors:
    """The tensors of a file.

    Parameters
    ----------
    path
        The file, named in refusals.
    arrays
        Tensors by their names in the file.
    """

    def __init__(self, path: Path, arrays: Mapping[str, np.ndarray]):
        self._path = path
        self._arrays = dict(arrays)

    def __contains__(self, name: str) -> bool:
        return name in self._arrays

    def shape(self, name: str, dimensions: int = 2) -> tuple[int, ...]:
        """Return a tensor's shape.

        Raises
        ------
        UserError
            There is no such tensor, or it has another number of dimensions.
        """
        if name not in self:
            raise UserError(
                f"{self._path} has no tensor {name}: give a whole file, of a model that has one "
                "(a Hugging Face model is a folder)"
            )
        shape = self._arrays[name].shape
        if len(shape) != dimensions or 0 in shape:
            raise UserError(
                f"The tensor {name} of {self._path} has shape {shape}, which is not that of "
                f"{dimensions} dimensions: give a whole file."
            )
        return shape

    def take(self, name: str, *shape: int) -> np.ndarray:
        """Return a tensor as float32, which is left out from now on.

        Raises
        ------
        UserError
            There is no such tensor, it has another shape, or it holds anything but finite numbers.
        """
        found = self.shape(name, len(shape))
        if found != shape:
            raise UserError(
                f"The tensor {name} of {self._path} has shape {found} instead of {shape}, which "
                "the rest of the file says: give a whole file."
            )
        tensor = self._arrays.pop(name)
        if tensor.dtype.kind != "f":
            raise UserError(
                f"The tensor {name} of {self._path} holds {tensor.dtype}, as quantised files do: "
                "give the model before it was quantised."
            )
        with np.errstate(over="ignore"):
            taken = tensor.astype(np.float32)
        if not np.isfinite(taken).all():
            raise UserError(
                f"The tensor {name} of {self._path} holds NaN or infinity: give an undamaged file."
            )
        return taken

    def drop(self, name: str) -> None:
        """Leave out a tensor that computes nothing, if it is there."""
        self._arrays.pop(name, None)

    def finish(self) -> None:
        """Refuse tensors that nobody has taken: the model computes something else with them.

        Raises
        ------
        UserError
            Naming them.
        """
        if not self._arrays:
            return
        names = sorted(self._arrays)
        biases = [name for name in names if name.endswith("bias")]
        what = "biases, which GPTLoom's models do not have" if biases else (
            "tensors that this kind of model does not have"
        )  # fmt: skip
        named = biases or names
        more = f" and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
        raise UserError(
            f"{self._path} has {what} ({', '.join(named[:_MOST_NAMED])}{more}): give a model "
            "without them"
        )
