"""Documents that a float model writes, for what needs token rows where there is no text."""

from collections.abc import Callable

import numpy as np

from gptloom.model.float_model import Cache, FloatModel


def sample_rows(
    model: FloatModel,
    rows: np.ndarray,
    end: int,
    positions: int,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> None:
    """Sample documents at temperature 1, all at once, each up to its end token.

    Parameters
    ----------
    model
        The float model.
    rows
        Token rows, [documents, context + 1], whose first tokens begin the documents; the other ones
        are written up to where the document ends, and keep their values behind it.
    end
        Token that ends a document.
    positions
        Most tokens of a document after the first.
    seed
        Start of the random numbers.
    progress
        Called with the positions done and all of them.
    """
    random = np.random.default_rng(seed)
    cache = Cache(model.config, len(rows))
    tokens, going = rows[:, 0].astype(np.int64), np.ones(len(rows), bool)
    for position in range(positions):
        logits = model.steps(tokens, position, cache)
        # The largest of logits with Gumbel noise is a draw from their softmax.
        tokens = (logits + random.gumbel(size=logits.shape)).argmax(axis=1)
        rows[going, position + 1] = tokens[going]
        going &= tokens != end
        progress(position + 1, positions)
        if not going.any():
            break
