"""The sampler: random numbers, Gumbel noise, argmax.

Adding Gumbel noise to ``logit / T`` and taking the largest draws exactly from ``softmax(logit/T)``
(Gumbel-max). The noise of a token does not depend on its logits, so hardware prepares it while
the logits are computed; then only an argmax remains.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gptloom.model.arithmetic import Integers
from gptloom.model.errors import UserError
from gptloom.model.tables import NOISE_INDEX_BITS, noise_entries

SEED_BITS = 32
_MASK = (1 << SEED_BITS) - 1


def check_seed(seed: int) -> int:
    """Return `seed` if the generator can start from it, else raise :class:`.UserError`."""
    if not 1 <= seed <= _MASK:
        raise UserError(
            f"seed {seed} is not usable: choose 1 to {_MASK} "
            "(the generator would stay at 0 forever)"
        )
    return seed


def xorshift32(state: int) -> int:
    """Return the next state of Marsaglia's 32-bit xorshift (13, 17, 5); never 0 from a nonzero one.

    Source: G. Marsaglia, "Xorshift RNGs", Journal of Statistical Software 8 (14), 2003.
    """
    state ^= (state << 13) & _MASK
    state ^= state >> 17
    return state ^ ((state << 5) & _MASK)


def noise(seed: int, bits: int = NOISE_INDEX_BITS) -> Iterator[int]:
    """Yield Gumbel noise (Q5.7) without end: table entries at the top bits of successive states.

    Parameters
    ----------
    seed
        First state of the generator.
    bits
        Bits that choose one of the table's entries.
    """
    state, table = check_seed(seed), noise_entries(bits).tolist()
    while True:
        state = xorshift32(state)
        yield table[state >> (SEED_BITS - bits)]


def draw(logits: Integers, values: NDArray[np.int64] | int) -> int:
    """Return the index of the largest noisy logit; the first among equals."""
    return int(np.argmax(logits + values))
