"""The models of a sweep: each checkpoint is read once, and quantised once for each form and width.

Quantising also measures the loss: the golden model's over the held-out documents.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from hashlib import sha256

from gptloom.boards.explore.point import FOLDED, Point
from gptloom.model import quantise as plain
from gptloom.model.checkpoint import Checkpoint, load_checkpoint, shipped_checkpoints
from gptloom.model.integer import IntegerModel
from gptloom.model.merged import quantise as merged
from gptloom.model.merged.integer import MergedModel, Widths
from gptloom.model.tokenizers.characters import characters_of

Model = IntegerModel | MergedModel
"""Models of the folded and of the unrolled core."""


class Models:
    """Checkpoints by name or file, and the models made from them."""

    def __init__(self):
        self.checkpoint = cache(load_checkpoint)
        self.digest = cache(lambda name: digest(self.checkpoint(name)))
        self._plain = cache(lambda name: plain.quantise(self.checkpoint(name)))
        self._merged = cache(self._quantise_merged)

    def of(self, point: Point) -> Model:
        """Return the model of a point.

        Raises
        ------
        UserError
            If its core cannot run the model.
        """
        if point.core == FOLDED:
            return self._plain(point.checkpoint)
        return self._merged(point.checkpoint, point.bits)

    def _quantise_merged(self, name: str, bits: int) -> MergedModel:
        return merged.quantise(self.checkpoint(name), replace(self.widths(name), weights=bits))

    def widths(self, name: str) -> Widths:
        """Return the widths of the unrolled core that a checkpoint is made for."""
        return merged.refined_widths(self.checkpoint(name))

    @staticmethod
    def refined_for(bits: int) -> str:
        """Return the shipped checkpoint that is made for weights of this many bits."""
        name = f"names-w{bits}"
        return name if name in shipped_checkpoints("merged") else "names"


def digest(checkpoint: Checkpoint) -> str:
    """Return a checksum of everything in a checkpoint that a model depends on."""
    whole = sha256(repr((checkpoint.config, characters_of(checkpoint.tokenizer))).encode())
    for array in (*checkpoint.weights.values(), checkpoint.calibration):
        whole.update(array.tobytes())
    return whole.hexdigest()[:12]
