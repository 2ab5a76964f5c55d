"""Attention of a token, gathered from the frames that report it."""

from __future__ import annotations

import numpy as np

from gptloom.firmware.protocol import Frame, Numerators
from gptloom.model.arithmetic import Integers
from gptloom.model.config import ModelConfig


class Gathering:
    """Collects the softmax numerators of one token after the other.

    Parameters
    ----------
    config
        Shape of the model.
    """

    def __init__(self, config: ModelConfig):
        self._config = config
        self._frames: list[Numerators] = []

    def add(self, frame: Frame) -> None:
        """Take a frame that belongs to the next token."""
        self._frames.append(Numerators.of(frame, self._config.heads))

    def take(self, position: int) -> Integers | None:
        """Return the numerators of the token at a position, and forget them.

        Returns
        -------
        numerators
            [layers, cached positions, heads]; None if some are missing.
        """
        config, frames = self._config, self._frames
        self._frames = []
        gathered = np.full((config.layers, position + 1, config.heads), -1, np.int64)
        for frame in frames:
            end = frame.first + len(frame.values)
            if frame.position == position and frame.layer < config.layers and end <= position + 1:
                gathered[frame.layer, frame.first : end] = frame.values
        return None if (gathered < 0).any() else gathered
