import math

import numpy as np
import pytest

from gptloom.model.stopping import Best, default_steps, measured_steps


def test_the_shipped_names_are_trained_for_as_long_as_ever():
    assert default_steps(87_592, 512) == (14_000, 3_000)


@pytest.mark.parametrize(("rows", "batch"), [(270, 512), (1_658, 512), (20_000, 512), (300, 64)])
def test_fewer_rows_take_fewer_steps(rows, batch):
    steps, aware = default_steps(rows, batch)
    assert 50 <= steps < 14_000
    assert 0 < aware < steps / 4
    # Each document is seen as often as those of the shipped corpus, or as 50 steps allow.
    assert steps * batch / rows == pytest.approx(14_000 * 512 / 87_592, rel=0.05) or steps == 50


@pytest.mark.parametrize("steps", [0, 1, 7, 60, 149, 14_000])
def test_the_last_step_and_the_first_are_measured(steps):
    measured = measured_steps(steps)
    assert steps in measured
    assert max(measured) == steps
    assert steps == 0 or 1 in measured
    assert len(measured) <= 110


def test_early_steps_are_measured_more_often():
    # With a few hundred documents the best of 14,000 steps is among the first hundred.
    assert {1, 2, 4, 8, 16, 32, 64, 128, 256, 280, 560} <= measured_steps(14_000)


def follow(losses, steps=None):
    """Record losses of steps 0, 1, 2, ..., until the best has passed."""
    best, weights = Best(), {"w": np.zeros(1)}
    for step, loss in enumerate(losses):
        weights["w"][0] = step
        best.note(step, loss, weights)
        if best.has_passed(step, steps or len(losses)):
            break
    return best, step


def test_the_lowest_is_kept_as_it_was():
    best, last = follow([3.0, 2.5, 2.2, 2.21, 2.2, 2.24])
    assert (best.step, best.loss, last) == (2, 2.2, 5)
    # The array itself has been overwritten since.
    assert best.weights["w"] == 2


def test_a_loss_that_is_no_number_is_not_kept():
    best, _ = follow([3.0, math.nan, 2.9, math.nan])
    assert (best.step, best.loss) == (2, 2.9)


def test_it_ends_when_the_loss_has_risen_for_a_tenth_of_the_steps():
    rising = [3.0, 2.0, *(2.04 + 0.02 * i for i in range(1000))]
    best, last = follow(rising)
    assert best.step == 1
    # A loss up to 0.05 above the lowest has not risen: step 2.
    assert last == pytest.approx(2 + 100, abs=2)


@pytest.mark.parametrize(
    "losses",
    [
        [3.0 - i / 1000 for i in range(1000)],
        # A plateau, before the learning rate falls.
        [2.5, *[2.54] * 900, *[2.4] * 99],
        # Noise that comes back.
        [2.5, *[2.6, 2.6, 2.6, 2.52] * 200],
    ],
)
def test_it_goes_on_while_the_loss_may_fall(losses):
    assert follow(losses)[1] == len(losses) - 1


def test_few_steps_are_not_stopped_by_one():
    assert follow([2.5, *[2.9] * 8], steps=9)[1] == 8
