"""Models of the Llama family whose weights are random, for tests."""

import random
from dataclasses import replace

import numpy as np

from gptloom.model.checkpoint import Checkpoint
from gptloom.model.config import ModelConfig
from gptloom.model.formats import Precision
from gptloom.model.integer import IntegerModel
from gptloom.model.llama_quantise import MOST_ROW_SHIFT, quantise_llama
from gptloom.model.tokenizers.characters import Characters
from gptloom.model.tokenizers.pieces import Pieces

SHARED = ModelConfig(
    1, 8, 4, 12, 4, 9, family="llama", positions="rotary", kv_heads=2, head_dim=6,
    eviction="window", sinks=1, tied=True, theta=20.0,
)  # fmt: skip
"""Shape whose heads share keys in pairs, in a ring of rows."""

GROUPED = ModelConfig(
    1, 16, 4, 20, 16, 9, family="llama", positions="rotary", kv_heads=2, tied=True
)  # fmt: skip
"""Shape whose heads share keys in pairs, with a context that ends."""

PIECES = [b"<unk>", b"<s>", b"</s>", b" ", b"a", b"b", b" a", b"ab", b"\xc3"]
"""Pieces of text, one of them a part of a letter."""


def make_checkpoint(config: ModelConfig, seed: int = 0) -> Checkpoint:
    """Return a checkpoint with normally distributed weights, and random rows of tokens."""
    draw = np.random.default_rng(seed)
    weights = {
        name: draw.normal(0, 0.3, shape).astype(np.float32)
        for name, shape in config.weight_shapes().items()
    }
    rows = draw.integers(0, config.vocabulary, (16, config.context + 1)).astype(np.int16)
    characters = "".join(map(chr, range(ord("a"), ord("a") + config.vocabulary - 1)))
    return Checkpoint(config, Characters(characters), weights, rows)


def with_pieces(checkpoint: Checkpoint) -> Checkpoint:
    """Return a checkpoint of nine tokens whose tokens are pieces of text."""
    return replace(checkpoint, tokenizer=Pieces(PIECES, [0.0] * len(PIECES)))


def make_loud(config: ModelConfig, precision: Precision, seed: int, most: int) -> IntegerModel:
    """Return an integer model whose values exceed their ranges, and whose rows differ more.

    Parameters
    ----------
    config, precision, seed
        Shape, widths, and seed of the random weights.
    most
        Largest number of bits by which a site's values are larger than they should be.
    """
    model, draw = quantise_llama(make_checkpoint(config, seed), precision), random.Random(seed)
    shifts = {key: max(1, shift - draw.randint(0, most)) for key, shift in model.shifts.items()}
    exponents = {
        name: np.array([max(0, min(MOST_ROW_SHIFT, e + draw.choice((-1, 0, 0, 1)))) for e in rows])
        for name, rows in model.row_shifts.items()
    }
    return replace(model, shifts=shifts, row_shifts=exponents)
