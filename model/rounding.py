"""Rounding a weight matrix so that its products change least, not its weights.

Column by column, the error made by rounding is compensated in the columns not rounded yet, as far
as the inputs are correlated (optimal brain surgeon, B. Hassibi and D. Stork, 1992; for whole
matrices of transformers: E. Frantar et al., "GPTQ", 2022).
"""

import numpy as np
from numpy.typing import NDArray

_DAMPING = 0.01


def round_for_inputs(
    matrix: NDArray[np.float64], inputs: NDArray[np.floating], limit: int
) -> NDArray[np.int64]:
    """Round a matrix to integers within +-`limit`, for inputs like the given ones.

    Parameters
    ----------
    matrix
        [outputs, width], in units of the integer grid.
    inputs
        [samples, width], in any unit.
    limit
        Largest magnitude of a result.
    """
    open_columns = matrix.astype(np.float64).copy()
    rounded = np.zeros(matrix.shape, np.int64)
    correlation = inputs.T @ inputs / len(inputs)
    # Inputs that never vary would make the correlation singular.
    damping = _DAMPING * np.mean(np.diag(correlation)) + 1e-12
    inverse = np.linalg.inv(correlation + damping * np.eye(matrix.shape[1]))
    for column in range(matrix.shape[1]):
        value = np.clip(np.floor(open_columns[:, column] + 0.5), -limit, limit)
        rounded[:, column] = value
        error = (open_columns[:, column] - value) / inverse[column, column]
        row = inverse[column].copy()
        open_columns[:, column + 1 :] -= np.outer(error, row[column + 1 :])
        inverse -= np.outer(row, row) / row[column]
    return rounded
