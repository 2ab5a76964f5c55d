"""Rounding of a matrix so that its products with real inputs change little.

E. Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
Transformers", 2022.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_DAMPING = 0.01
"""Share of the mean square that is added to every input's own, so that all can be divided by."""


def round_for_inputs(matrix: Array, moments: Array, limit: int) -> NDArray[np.int64]:
    """Round a matrix column by column, each time correcting the columns that are still real.

    Parameters
    ----------
    matrix
        [outputs, inputs], in units of the grid.
    moments
        Second moments of the inputs, [inputs, inputs]: sums of their products over samples.
    limit
        Largest magnitude of an integer.

    Returns
    -------
    NDArray
        Integers, shaped as `matrix`.
    """
    mean = float(np.trace(moments)) / len(moments) or 1.0
    damped = moments + _DAMPING * mean * np.eye(len(moments))
    # Inputs that matter most are rounded first, while all others can make up for it.
    order = np.argsort(-np.diag(damped), kind="stable")
    upper = np.linalg.cholesky(np.linalg.inv(damped[np.ix_(order, order)])).T
    left, found = matrix[:, order].copy(), np.empty(matrix.shape, np.int64)
    for place, column in enumerate(order):
        whole = np.clip(np.floor(left[:, place] + 0.5), -limit, limit)
        found[:, column] = whole
        error = (left[:, place] - whole) / upper[place, place]
        left[:, place + 1 :] -= np.outer(error, upper[place, place + 1 :])
    return found
