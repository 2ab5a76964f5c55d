"""Calibration rows of imported models, from a text or sampled from the model itself."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from gptloom.model.checkpoint import CALIBRATION_DOCUMENTS, Checkpoint
from gptloom.model.config import ModelConfig
from gptloom.model.float_model import FloatModel
from gptloom.model.float_sampling import sample_rows
from gptloom.model.positions import Positions
from gptloom.model.tokenizer import Tokenizer

POSITIONS = 256
"""Most tokens of a calibration row."""

_TOKENS = 16_384
"""Tokens of all rows, if the model is small enough."""

_WORK = 200_000_000_000
"""Most tokens times parameters that are sampled: seconds, not minutes."""

_FEWEST, _USUAL = 8, 64
"""Numbers of rows."""


def without_calibration(
    config: ModelConfig, tokenizer: Tokenizer, weights: Mapping[str, np.ndarray]
) -> Checkpoint:
    """Return a checkpoint that has no calibration rows yet."""
    return Checkpoint(config, tokenizer, dict(weights), tokenizer.rows([], config.context))


def calibrate_by_text(checkpoint: Checkpoint, text: str, seed: int) -> Checkpoint:
    """Return a checkpoint whose calibration rows are documents of a text.

    Learned positions: a line is a document. Others: the text is cut where a row is full.

    Raises
    ------
    UserError
        The tokenizer cannot encode the text.
    """
    config, tokenizer = checkpoint.config, checkpoint.tokenizer
    if config.positions is Positions.LEARNED:
        documents = [line.strip() for line in text.splitlines() if line.strip()]
        rows = tokenizer.rows(documents, config.context)
    else:
        tokens = tokenizer.encode(text)
        length = _positions(config)
        rows = tokenizer.rows([""] * -(-len(tokens) // length), config.context)
        for row, start in zip(rows, range(0, len(tokens), length), strict=True):
            part = tokens[start : start + length]
            row[1 : len(part) + 1] = part
    chosen = np.random.default_rng(seed).permutation(len(rows))[: _documents(config)]
    return replace(checkpoint, calibration=rows[np.sort(chosen)])


def calibrate_by_sampling(
    checkpoint: Checkpoint,
    seed: int,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Checkpoint:
    """Return a checkpoint whose calibration rows the float model has written at temperature 1.

    Parameters
    ----------
    checkpoint
        The model.
    seed
        Start of the random numbers.
    progress
        Called with the positions done and all of them.
    """
    config, tokenizer = checkpoint.config, checkpoint.tokenizer
    most = min(_TOKENS, _WORK // config.parameters)
    documents = max(_FEWEST, min(_documents(config), most // _positions(config)))
    positions = max(1, min(_positions(config), most // documents))
    rows = tokenizer.rows([""] * documents, config.context)
    model = FloatModel(config, checkpoint.weights)
    sample_rows(model, rows, tokenizer.end, positions, seed, progress)
    return replace(checkpoint, calibration=rows)


def _positions(config: ModelConfig) -> int:
    return min(config.context, POSITIONS)


def _documents(config: ModelConfig) -> int:
    return min(CALIBRATION_DOCUMENTS, max(_USUAL, _TOKENS // _positions(config)))
