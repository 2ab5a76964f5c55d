"""Updates of weights in PyTorch: steps, losses, gradients.

PyTorch is imported where it is used: the rest of the package works without it.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from gptloom.model.errors import UserError
from gptloom.model.gains import is_gain
from gptloom.model.loss_curve import LossCurve
from gptloom.model.recipe import Recipe, TrainingSettings
from gptloom.model.stopping import Best, measured_steps
from gptloom.model.tokenizer import PADDING

if TYPE_CHECKING:
    import torch

BETAS = (0.9, 0.99)

Tensors = Mapping[str, "torch.Tensor"]
"""Weights and gains by name."""
Logits = Callable[[Tensors, "torch.Tensor"], "torch.Tensor"]
"""Model to train: logits [batch, positions, vocabulary] of weights and tokens."""
Limit = Callable[[Tensors], None]
"""Clips weights in place."""


def trainable(weights: Mapping[str, np.ndarray]) -> dict[str, "torch.Tensor"]:
    """Return weights as float32 tensors with gradients; the arrays stay unchanged."""
    import torch

    return {
        name: torch.tensor(weight, dtype=torch.float32, requires_grad=True)
        for name, weight in weights.items()
    }


def optimise(
    weights: Tensors,
    batches: Iterator[np.ndarray],
    settings: TrainingSettings,
    recipe: Recipe,
    curve: LossCurve,
    progress: Callable[[int, float], None],
    best: Best,
    logits: Logits,
    measure: Callable[[Tensors], float],
    limit: Limit = lambda weights: None,
) -> None:
    """Update the weights in place with AdamW on minibatches, and continue the curve.

    Training ends when the steps are made, or when the held-out loss has risen for long.

    Parameters
    ----------
    weights
        float32 tensors by name, with gradients.
    batches
        Token rows of each step.
    settings
        Steps and learning rate of this phase.
    recipe
        Warm-up, decay and clipping.
    curve
        Curve to append to.
    progress
        See `train_checkpoint`.
    best
        Keeps the step with the lowest held-out loss; the first candidate is the initial weights.
    logits
        Model to train.
    measure
        Returns the held-out loss of given weights.
    limit
        Called after every step to clip weights in place.
    """
    import torch

    # The matrices are too small to be split among threads: more threads are slower, and the order
    # of their sums would make the result depend on the machine's cores.
    torch.set_num_threads(1)
    gains = [weight for name, weight in weights.items() if is_gain(name)]
    matrices = [weight for name, weight in weights.items() if not is_gain(name)]
    optimiser = torch.optim.AdamW(
        [{"params": matrices}, {"params": gains, "weight_decay": 0.0}],
        lr=settings.learning_rate,
        betas=BETAS,
        weight_decay=recipe.weight_decay,
        foreach=True,
    )
    arrays = {name: weight.detach().numpy() for name, weight in weights.items()}
    warm_up = max(1, round(recipe.warm_up * settings.steps))
    measured = measured_steps(settings.steps)
    before = len(curve.training)
    best.note(before, measure(weights), arrays)
    for step, batch in zip(range(settings.steps), batches, strict=False):
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate * _schedule(step, warm_up, settings.steps)
        loss = cross_entropy(logits, weights, batch)
        optimiser.zero_grad()
        loss.backward()
        if math.isfinite(recipe.clip):
            torch.nn.utils.clip_grad_norm_(weights.values(), recipe.clip)
        optimiser.step()
        limit(weights)
        curve.training.append(loss.item())
        done = len(curve.training)
        if step + 1 in measured:
            curve.heldout[done] = measure(weights)
            best.note(done, curve.heldout[done], arrays)
        progress(done, curve.training[-1])
        if best.has_passed(done, settings.steps):
            break


def cross_entropy(logits: Logits, weights: Tensors, rows: np.ndarray) -> "torch.Tensor":
    """Return the mean loss of rows in nats per predicted token, with its gradient."""
    import torch

    longest = int((rows != PADDING).sum(axis=1).max())
    tokens = torch.from_numpy(rows[:, :longest].astype(np.int64))
    predicted = logits(weights, tokens[:, :-1].clamp(min=0))
    return torch.nn.functional.cross_entropy(
        predicted.flatten(0, 1), tokens[:, 1:].flatten(), ignore_index=PADDING
    )


def mean_loss(logits: Logits, weights: Tensors, rows: np.ndarray, batch: int) -> float:
    """Return `cross_entropy` of many rows, computed batch by batch without a gradient.

    Raises
    ------
    UserError
        The loss is not finite.
    """
    import torch

    parts = [rows[start : start + batch] for start in range(0, len(rows), batch)]
    predicted = [int((part[:, 1:] != PADDING).sum()) for part in parts]
    with torch.no_grad():
        losses = [float(cross_entropy(logits, weights, part)) for part in parts]
    return finite(float(np.average(losses, weights=predicted)))


def finite(loss: float) -> float:
    """Return a loss, or raise :class:`.UserError` if it is not finite."""
    if not math.isfinite(loss):
        raise UserError("The training diverged: give a lower learning rate.")
    return loss


def _schedule(step: int, warm_up: int, steps: int) -> float:
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))
