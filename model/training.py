"""Training in PyTorch, from a corpus to a checkpoint.

PyTorch is imported where it is used: everything else of the package works without it.
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
from gptloom.model.float_model import NORM_EPSILON, FloatModel
from gptloom.model.loss_curve import LossCurve
from gptloom.model.positions import Positions, slopes
from gptloom.model.tokenizer import PADDING, Tokenizer

if TYPE_CHECKING:
    import torch

INITIAL_DEVIATION = 0.08
"""Standard deviation of the initial weights, as in microGPT."""
WARM_UP = 0.02
"""Part of the steps in which the learning rate rises from zero."""
BETAS = (0.9, 0.99)
# This decay and the default learning rate were compared with others in short runs, on held-out
# names outside the shipped set. Decay also keeps the embeddings small, whose norm the model
# ignores and fixed point does not.
WEIGHT_DECAY = 0.03
CURVE_POINTS = 50
"""How often the held-out loss is measured for the picture."""


@dataclass(frozen=True)
class TrainingSettings:
    """How long and how fast to train.

    Parameters
    ----------
    steps
        Updates of the weights in floating point.
    batch
        Documents per step.
    learning_rate
        The highest; it rises linearly and then falls to zero along a cosine.
    seed
        Of the initial weights, the order of the documents and the choice for calibration.
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
    """Make sure, before hours of training, that all it needs until its end is installed.

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
        What to train and to measure on. The held-out documents only measure: they choose
        neither the step to stop at nor a seed.
    config
        The shape; its vocabulary must be that of the corpus.
    settings
        Steps, batch, learning rate and seed.
    command
        What reproduces the checkpoint, for its metadata.
    progress
        Called after each step with the number of steps done and that step's loss.

    Returns
    -------
    Checkpoint, LossCurve
        The trained model with its metadata, and how it came about. The same settings on the
        same machine give the same weights.

    Raises
    ------
    UserError
        A package of the extra is missing, the vocabularies differ, or the loss diverged.
    """
    require_extra()
    import torch

    tokenizer = Tokenizer.from_documents(corpus.documents)
    if config.vocabulary != tokenizer.vocabulary:
        raise UserError(
            f"The vocabulary is {config.vocabulary}, but {corpus.name} needs "
            f"{tokenizer.vocabulary}: give the corpus's."
        )
    make_rows = tokenizer.rows_of(config.positions)
    rows = make_rows(corpus.training, config.context)
    heldout = make_rows(corpus.heldout, config.context)
    random = np.random.default_rng(settings.seed)
    weights = {
        name: torch.tensor(
            random.normal(0, INITIAL_DEVIATION, shape), dtype=torch.float32, requires_grad=True
        )
        for name, shape in config.weight_shapes().items()
    }
    curve = LossCurve([], {})
    optimise(config, weights, rows, heldout, settings, random, curve, progress)
    loss = float_phase_loss = heldout_loss(config, weights, heldout)
    if settings.quantise_aware_steps:
        aware = replace(
            settings, steps=settings.quantise_aware_steps, learning_rate=qat.LEARNING_RATE
        )
        grid = qat.Grid(config, weights)
        optimise(
            config,
            weights,
            rows,
            heldout,
            aware,
            random,
            curve,
            progress,
            lambda seen, tokens: torch_logits(config, grid.round(seen), tokens),
            grid.limit,
        )
        loss = heldout_loss(config, weights, heldout)
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
            "loss": loss,
            "float_phase_loss": float_phase_loss,
        },
        "baselines": ngram_losses(rows, heldout, config.vocabulary),
        "training": {
            "command": command,
            "seed": settings.seed,
            "steps": settings.steps,
            "batch": settings.batch,
            "learning_rate": settings.learning_rate,
            "quantise_aware_steps": settings.quantise_aware_steps,
        },
    }
    trained = {name: weight.detach().numpy() for name, weight in weights.items()}
    return Checkpoint(config, tokenizer, trained, rows[chosen], metadata), curve


def torch_logits(
    config: ModelConfig, weights: Mapping[str, "torch.Tensor"], tokens: "torch.Tensor"
) -> "torch.Tensor":
    """Return `FloatModel.logits` as a differentiable function of the weights.

    Parameters
    ----------
    config
        The shape.
    weights
        Tensors by name.
    tokens
        int64 [batch, positions].

    Returns
    -------
    torch.Tensor
        [batch, positions, vocabulary].
    """
    from torch.nn import functional

    batch, positions = tokens.shape
    split = (batch, positions, config.heads, config.head_width)

    def rms_norm(x: "torch.Tensor") -> "torch.Tensor":
        return x * (x.square().mean(-1, keepdim=True) + NORM_EPSILON).rsqrt()

    x = weights["wte"][tokens]
    bias = score_bias(config, positions, x.dtype)
    if config.positions is Positions.LEARNED:
        x = x + weights["wpe"][:positions]
    x = rms_norm(x)
    for layer in range(config.layers):
        normed = rms_norm(x)
        q, k, v = (
            functional.linear(normed, weights[f"layer{layer}.{name}"]).view(split).transpose(1, 2)
            for name in ("attn_wq", "attn_wk", "attn_wv")
        )
        attended = functional.scaled_dot_product_attention(
            q, k, v, attn_mask=bias, is_causal=bias is None
        )
        attended = attended.transpose(1, 2).reshape(batch, positions, config.width)
        x = x + functional.linear(attended, weights[f"layer{layer}.attn_wo"])
        u = functional.linear(rms_norm(x), weights[f"layer{layer}.mlp_fc1"]).relu()
        x = x + functional.linear(u, weights[f"layer{layer}.mlp_fc2"])
    return functional.linear(x, weights["lm_head"])


def score_bias(config: ModelConfig, positions: int, dtype: "torch.dtype") -> "torch.Tensor | None":
    """Return what ALiBi adds to scores in nats, [heads, positions, positions]; None without it.

    Keys that come later are masked.
    """
    import torch

    if config.positions is Positions.LEARNED:
        return None
    distance = torch.arange(positions)[:, None] - torch.arange(positions)
    slope = torch.tensor(slopes(config.heads), dtype=dtype)[:, None, None]
    return (-slope * distance).masked_fill(distance < 0, -math.inf)


def optimise(
    config: ModelConfig,
    weights: Mapping[str, "torch.Tensor"],
    rows: np.ndarray,
    heldout: np.ndarray,
    settings: TrainingSettings,
    random: np.random.Generator,
    curve: LossCurve,
    progress: Callable[[int, float], None],
    logits: Callable[[Mapping[str, "torch.Tensor"], "torch.Tensor"], "torch.Tensor"] | None = None,
    limit: Callable[[Mapping[str, "torch.Tensor"]], None] = lambda weights: None,
) -> None:
    """Update the weights in place with AdamW on minibatches, and continue the curve.

    Parameters
    ----------
    config
        The shape.
    weights
        float32 tensors by name, with gradients.
    rows, heldout
        Token rows to train on and to measure on.
    settings
        Steps, batch and learning rate of this phase.
    random
        Chooses the minibatches.
    curve
        Is appended to.
    progress
        As `train_checkpoint` has it.
    logits
        What is trained, of weights and tokens; `torch_logits` unless something else is given.
    limit
        Is called after every step to clip weights in place.
    """
    import torch

    # The matrices are too small to be shared out: more threads are slower, and the order of
    # their sums would make the result depend on the machine's cores.
    torch.set_num_threads(1)
    optimiser = torch.optim.AdamW(
        list(weights.values()),
        lr=settings.learning_rate,
        betas=BETAS,
        weight_decay=WEIGHT_DECAY,
        foreach=True,
    )
    warm_up = max(1, round(WARM_UP * settings.steps))
    measure_every = max(1, settings.steps // CURVE_POINTS)
    before = len(curve.training)
    order = np.empty(0, dtype=np.int64)
    for step in range(settings.steps):
        while len(order) < settings.batch:
            order = np.concatenate([order, random.permutation(len(rows))])
        batch, order = rows[order[: settings.batch]], order[settings.batch :]
        longest = int((batch != PADDING).sum(axis=1).max())
        tokens = torch.from_numpy(batch[:, :longest].astype(np.int64))
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate * _schedule(step, warm_up, settings.steps)
        inputs = tokens[:, :-1].clamp(min=0)
        predicted = logits(weights, inputs) if logits else torch_logits(config, weights, inputs)
        loss = torch.nn.functional.cross_entropy(
            predicted.flatten(0, 1), tokens[:, 1:].flatten(), ignore_index=PADDING
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        limit(weights)
        curve.training.append(loss.item())
        if (step + 1) % measure_every == 0:
            curve.heldout[before + step + 1] = heldout_loss(config, weights, heldout)
        progress(before + step + 1, curve.training[-1])


def heldout_loss(
    config: ModelConfig, weights: Mapping[str, "torch.Tensor"], heldout: np.ndarray
) -> float:
    """Return `FloatModel.loss` of tensors, or raise :class:`.UserError` where it is not finite."""
    arrays = {name: weight.detach().numpy() for name, weight in weights.items()}
    loss = FloatModel(config, arrays).loss(heldout)
    if not math.isfinite(loss):
        raise UserError("The training diverged: give a lower learning rate.")
    return loss


def _schedule(step: int, warm_up: int, steps: int) -> float:
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))
