"""Training in PyTorch, from a corpus to a checkpoint.

PyTorch is imported where it is used: the rest of the package works without it.
"""

import importlib.util
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from gptloom.model import qat
from gptloom.model.baselines import ngram_losses
from gptloom.model.checkpoint import CALIBRATION_DOCUMENTS, Checkpoint
from gptloom.model.config import ModelConfig
from gptloom.model.corpus import SPLIT_RULE, Corpus
from gptloom.model.errors import UserError
from gptloom.model.float_model import FloatModel
from gptloom.model.loss_curve import LossCurve
from gptloom.model.stopping import Best, measured_steps
from gptloom.model.tokenizer import PADDING
from gptloom.model.tokenizers.characters import Characters
from gptloom.model.torch_model import torch_logits

if TYPE_CHECKING:
    import torch

INITIAL_DEVIATION = 0.08
"""Standard deviation of the initial weights, as in microGPT."""
WARM_UP = 0.02
"""Share of the steps during which the learning rate rises from zero."""
BETAS = (0.9, 0.99)
# This decay and the default learning rate were compared with others in short runs, on held-out
# names outside the shipped set. Decay also keeps the embeddings small, whose norm the model
# ignores but fixed point does not.
WEIGHT_DECAY = 0.03

Logits = Callable[[Mapping[str, "torch.Tensor"], "torch.Tensor"], "torch.Tensor"]
"""Model to train: logits [batch, positions, vocabulary] of weights and tokens."""


@dataclass(frozen=True)
class TrainingSettings:
    """Length and rate of training.

    Parameters
    ----------
    steps
        Updates of the weights in floating point.
    batch
        Documents per step.
    learning_rate
        Highest learning rate; it rises linearly and then falls to zero along a cosine.
    seed
        Seed of the initial weights, the order of the documents and the choice for calibration.
    quantise_aware_steps
        Updates after those, in which the weights are seen as 8-bit integers (:mod:`.qat`); may
        be 0.

    Raises
    ------
    UserError
        A number is out of its range.
    """

    steps: int = 14_000
    batch: int = 512
    learning_rate: float = 0.03
    seed: int = 1
    quantise_aware_steps: int = 3_000

    def __post_init__(self) -> None:
        for name, value in (("steps", self.steps), ("batch", self.batch)):
            if value < 1:
                raise UserError(f"{name} is {value}: give at least 1.")
        if self.quantise_aware_steps < 0:
            raise UserError(
                f"The quantisation-aware steps are {self.quantise_aware_steps}: give 0 or more."
            )
        if not 0 < self.learning_rate < 1:
            raise UserError(
                f"The learning rate is {self.learning_rate}: give a number between 0 and 1."
            )
        if not 0 <= self.seed < 2**32:
            raise UserError(f"seed is {self.seed}: give a number from 0 to {2**32 - 1}.")


def require_extra() -> None:
    """Make sure, before hours of training, that everything needed until its end is installed.

    Raises
    ------
    UserError
        A package of the extra is missing.
    """
    for package in ("torch", "matplotlib"):
        if importlib.util.find_spec(package) is None:
            raise UserError(f"Training needs {package}: run pip install 'gptloom[train]'.")


def train_checkpoint(
    corpus: Corpus,
    config: ModelConfig,
    settings: TrainingSettings,
    command: str,
    progress: Callable[[int, float], None] = lambda step, loss: None,
) -> tuple[Checkpoint, LossCurve]:
    """Train a model and measure it.

    Parameters
    ----------
    corpus
        Documents to train and to measure on. The held-out ones choose the step whose weights are
        kept, and nothing else.
    config
        The shape; its vocabulary must be that of the corpus.
    settings
        Steps, batch, learning rate and seed.
    command
        Command that reproduces the checkpoint, for its metadata.
    progress
        Called after each step with the number of steps done and that step's loss.

    Returns
    -------
    Checkpoint, LossCurve
        The trained model with its metadata, and its losses during training. The same settings on
        the same machine give the same weights. After an interrupt it is the best so far.

    Raises
    ------
    UserError
        A package of the extra is missing, the vocabularies differ, or the loss diverged.
    KeyboardInterrupt
        The interrupt came before any step was better than none.
    """
    require_extra()
    tokenizer = Characters.from_documents(corpus.documents)
    if config.vocabulary != tokenizer.vocabulary:
        raise UserError(
            f"The vocabulary is {config.vocabulary}, but {corpus.name} needs "
            f"{tokenizer.vocabulary}: give the corpus's."
        )
    make_rows = tokenizer.rows_of(config.positions)
    rows = make_rows(corpus.training, config.context)
    heldout = make_rows(corpus.heldout, config.context)
    baselines = ngram_losses(rows, heldout, config.vocabulary)
    random = np.random.default_rng(settings.seed)
    weights = trainable(
        {
            name: random.normal(0, INITIAL_DEVIATION, shape)
            for name, shape in config.weight_shapes().items()
        }
    )
    curve = LossCurve([], {})
    in_float, aware = Best(), Best()
    try:
        optimise(
            weights,
            rows,
            settings,
            random,
            curve,
            progress,
            in_float,
            lambda seen, tokens: torch_logits(config, seen, tokens),
            lambda seen: heldout_loss(config, seen, heldout),
        )
        if settings.quantise_aware_steps:
            weights = trainable(in_float.weights)
            grid = qat.Grid(config, weights)
            optimise(
                weights,
                rows,
                replace(
                    settings, steps=settings.quantise_aware_steps, learning_rate=qat.LEARNING_RATE
                ),
                random,
                curve,
                progress,
                aware,
                lambda seen, tokens: torch_logits(config, grid.round(seen), tokens),
                # These steps improve the rounded weights, so those are measured.
                lambda seen: heldout_loss(config, grid.round(seen), heldout),
                grid.limit,
            )
    except KeyboardInterrupt:
        if not in_float.step:
            raise
        curve.interrupted = True
    best = aware if aware.weights else in_float
    curve.kept = best.step
    chosen = random.permutation(len(rows))[:CALIBRATION_DOCUMENTS]
    metadata = {
        "corpus": {
            "name": corpus.name,
            "licence": corpus.licence,
            "documents": len(corpus.documents),
            "training_documents": len(rows),
            "split": SPLIT_RULE,
        },
        "heldout": {
            "set": corpus.heldout_name,
            "documents": len(heldout),
            "loss": heldout_loss(config, trainable(best.weights), heldout),
            "float_phase_loss": in_float.loss,
        },
        "baselines": baselines,
        "training": {
            "command": command,
            "seed": settings.seed,
            "steps": settings.steps,
            "batch": settings.batch,
            "learning_rate": settings.learning_rate,
            "quantise_aware_steps": settings.quantise_aware_steps,
            **curve.steps_made(),
        },
    }
    return Checkpoint(config, tokenizer, best.weights, rows[chosen], metadata), curve


def trainable(weights: Mapping[str, np.ndarray]) -> dict[str, "torch.Tensor"]:
    """Return weights as float32 tensors with gradients; the arrays stay unchanged."""
    import torch

    return {
        name: torch.tensor(weight, dtype=torch.float32, requires_grad=True)
        for name, weight in weights.items()
    }


def optimise(
    weights: Mapping[str, "torch.Tensor"],
    rows: np.ndarray,
    settings: TrainingSettings,
    random: np.random.Generator,
    curve: LossCurve,
    progress: Callable[[int, float], None],
    best: Best,
    logits: Logits,
    measure: Callable[[Mapping[str, "torch.Tensor"]], float],
    limit: Callable[[Mapping[str, "torch.Tensor"]], None] = lambda weights: None,
) -> None:
    """Update the weights in place with AdamW on minibatches, and continue the curve.

    Training ends when the steps are made, or when the held-out loss has risen for long.

    Parameters
    ----------
    weights
        float32 tensors by name, with gradients.
    rows
        Token rows to train on.
    settings
        Steps, batch and learning rate of this phase.
    random
        Generator that chooses the minibatches.
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
    optimiser = torch.optim.AdamW(
        list(weights.values()),
        lr=settings.learning_rate,
        betas=BETAS,
        weight_decay=WEIGHT_DECAY,
        foreach=True,
    )
    arrays = {name: weight.detach().numpy() for name, weight in weights.items()}
    warm_up = max(1, round(WARM_UP * settings.steps))
    measured = measured_steps(settings.steps)
    before = len(curve.training)
    best.note(before, measure(weights), arrays)
    order = np.empty(0, dtype=np.int64)
    for step in range(settings.steps):
        while len(order) < settings.batch:
            order = np.concatenate([order, random.permutation(len(rows))])
        batch, order = rows[order[: settings.batch]], order[settings.batch :]
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate * _schedule(step, warm_up, settings.steps)
        loss = cross_entropy(logits, weights, batch)
        optimiser.zero_grad()
        loss.backward()
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


def cross_entropy(
    logits: Logits, weights: Mapping[str, "torch.Tensor"], rows: np.ndarray
) -> "torch.Tensor":
    """Return the mean loss of rows in nats per predicted token, with its gradient."""
    import torch

    longest = int((rows != PADDING).sum(axis=1).max())
    tokens = torch.from_numpy(rows[:, :longest].astype(np.int64))
    predicted = logits(weights, tokens[:, :-1].clamp(min=0))
    return torch.nn.functional.cross_entropy(
        predicted.flatten(0, 1), tokens[:, 1:].flatten(), ignore_index=PADDING
    )


def mean_loss(
    logits: Logits, weights: Mapping[str, "torch.Tensor"], rows: np.ndarray, batch: int
) -> float:
    """Return `cross_entropy` of many rows, computed batch by batch without a gradient."""
    import torch

    parts = [rows[start : start + batch] for start in range(0, len(rows), batch)]
    predicted = [int((part[:, 1:] != PADDING).sum()) for part in parts]
    with torch.no_grad():
        losses = [float(cross_entropy(logits, weights, part)) for part in parts]
    return float(np.average(losses, weights=predicted))


def heldout_loss(
    config: ModelConfig, weights: Mapping[str, "torch.Tensor"], heldout: np.ndarray
) -> float:
    """Return `FloatModel.loss` of tensors, or raise :class:`.UserError` if it is not finite."""
    arrays = {name: weight.detach().numpy() for name, weight in weights.items()}
    loss = FloatModel(config, arrays).loss(heldout)
    if not math.isfinite(loss):
        raise UserError("The training diverged: give a lower learning rate.")
    return loss


def _schedule(step: int, warm_up: int, steps: int) -> float:
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))
