"""Checkpoints with random weights."""

import numpy as np

from gptloom.model.checkpoint import Checkpoint
from gptloom.model.tokenizers.characters import Characters


def make_random_checkpoint(config, size=0.4, seed=0):
    """Make a checkpoint of a given shape."""
    random = np.random.default_rng(seed)
    weights = {
        name: random.normal(0, size, shape).astype(np.float32)
        for name, shape in config.weight_shapes().items()
    }
    rows = random.integers(0, config.vocabulary, (32, config.context + 1)).astype(np.int16)
    # Rows are like documents: the special token is first and nowhere else before the end.
    rows[:, 1:-1] %= config.vocabulary - 1
    rows[:, 0] = config.vocabulary - 1
    characters = "".join(map(chr, range(0x100, 0xFF + config.vocabulary)))
    return Checkpoint(config, Characters(characters), weights, rows)
