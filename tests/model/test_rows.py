import numpy as np

from gptloom.model.rows import Rows


def test_every_row_comes_once_before_any_comes_again():
    training = np.arange(10)[:, None]
    batches = Rows.shuffled(training, training).batches(4, np.random.default_rng(0))
    drawn = np.concatenate([next(batches) for _ in range(10)]).ravel()
    assert [sorted(part) for part in drawn.reshape(4, 10).tolist()] == [[*range(10)]] * 4
    assert drawn[:10].tolist() != drawn[10:20].tolist()
