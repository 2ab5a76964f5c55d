"""Training in PyTorch, from a corpus to a checkpoint.

PyTorch is imported where it is used: the rest of the package works without it.
"""

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from gptloom.model import qat
from gptloom.model.baselines import ngram_losses
from gptloom.model.checkpoint import CALIBRATION_DOCUMENTS, Checkpoint
from gptloom.model.config import ModelConfig
from gptloom.model.corpus import Corpus
from gptloom.model.errors import UserError
from gptloom.model.family import check_family
from gptloom.model.float_model import FloatModel
from gptloom.model.gains import folded, is_gain, ones
from gptloom.model.long_text import LongText
from gptloom.model.loss_curve import LossCurve
from gptloom.model.optimisation import (
    Limit,
    Logits,
    Tensors,
    finite,
    mean_loss,
    optimise,
    trainable,
)
from gptloom.model.recipe import RECIPES, Recipe, TrainingSettings
from gptloom.model.stopping import Best
from gptloom.model.torch_model import torch_logits

CALIBRATION_TOKENS = 32_768
"""Most tokens of all calibration rows."""

MEASURED_AT_ONCE = 64
"""Rows of a part of the held-out ones, measured at once."""


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
    corpus: Corpus | LongText,
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
    if settings.quantise_aware_steps:
        check_family(config.family, "training that is aware of quantisation")
    tokenizer = corpus.tokenizer
    if config.vocabulary != tokenizer.vocabulary:
        raise UserError(
            f"The vocabulary is {config.vocabulary}, but {corpus.name} needs "
            f"{tokenizer.vocabulary}: give the corpus's."
        )
    rows = corpus.rows(tokenizer, config)
    baselines = ngram_losses(rows.training, rows.heldout, config.vocabulary)
    random = np.random.default_rng(settings.seed)
    recipe = RECIPES[config.family]
    weights = trainable(_initial(config, recipe, random))
    curve = LossCurve([], {})
    in_float, aware = Best(), Best()

    def train(
        weights: Tensors, settings: TrainingSettings, best: Best, logits: Logits, *limit: Limit
    ) -> None:
        batches = rows.batches(settings.batch, random)
        # Double precision, which takes longer, is for the loss that is stated.
        measure = partial(mean_loss, logits, rows=rows.heldout, batch=MEASURED_AT_ONCE)
        optimise(weights, batches, settings, recipe, curve, progress, best, logits, measure, *limit)

    try:
        train(weights, settings, in_float, lambda seen, x: torch_logits(config, folded(seen), x))
        if settings.quantise_aware_steps:
            weights = trainable(in_float.weights)
            grid = qat.Grid(config, weights)
            train(
                weights,
                replace(
                    settings, steps=settings.quantise_aware_steps, learning_rate=qat.LEARNING_RATE
                ),
                aware,
                # These steps improve the rounded weights, so those are measured.
                lambda seen, x: torch_logits(config, grid.round(seen), x),
                grid.limit,
            )
    except KeyboardInterrupt:
        if not in_float.step:
            raise
        curve.interrupted = True
    best = aware if aware.weights else in_float
    curve.kept = best.step
    kept = folded(best.weights)
    loss = heldout_loss(config, kept, rows.heldout)
    most = min(CALIBRATION_DOCUMENTS, max(1, CALIBRATION_TOKENS // config.context))
    calibration = next(rows.batches(min(most, len(rows.training)), random))
    metadata = {
        "corpus": corpus.describe(rows),
        "heldout": {
            "set": corpus.heldout_name,
            "documents": len(rows.heldout),
            "loss": loss,
            "float_phase_loss": loss
            if best is in_float
            else heldout_loss(config, folded(in_float.weights), rows.heldout),
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
    return Checkpoint(config, tokenizer, kept, calibration, metadata), curve


def _initial(
    config: ModelConfig, recipe: Recipe, random: np.random.Generator
) -> dict[str, np.ndarray]:
    """Return the weights and gains before the first step."""
    matrices = {
        name: random.normal(0, recipe.deviation, shape)
        for name, shape in config.weight_shapes().items()
        if not is_gain(name)
    }
    return matrices | ones(config)


def heldout_loss(
    config: ModelConfig, weights: Mapping[str, np.ndarray], heldout: np.ndarray
) -> float:
    """Return `FloatModel.loss` of weights, or raise :class:`.UserError` if it is not finite."""
    return finite(FloatModel(config, weights).loss(heldout))
