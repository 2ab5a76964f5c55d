"""Training of a float checkpoint so that its merged form gets by with fewer bits."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from gptloom.model.checkpoint import Checkpoint
from gptloom.model.corpus import Corpus
from gptloom.model.errors import UserError
from gptloom.model.loss_curve import LossCurve
from gptloom.model.merged.integer import Widths
from gptloom.model.merged.qat import MergedLogits
from gptloom.model.optimisation import mean_loss, optimise, trainable
from gptloom.model.recipe import RECIPES, TrainingSettings
from gptloom.model.stopping import Best
from gptloom.model.training import heldout_loss, require_extra


def refine_checkpoint(
    checkpoint: Checkpoint,
    corpus: Corpus,
    widths: Widths,
    settings: TrainingSettings,
    command: str,
    progress: Callable[[int, float], None] = lambda step, loss: None,
) -> tuple[Checkpoint, LossCurve]:
    """Train a checkpoint further, with its merged form seen as integers of some widths.

    Parameters
    ----------
    checkpoint
        Starting point; it has one layer.
    corpus
        Documents to train and to measure on, with the checkpoint's characters. The held-out ones
        choose the step whose weights are kept.
    widths
        Bits of the matrices, of the table, of keys and values.
    settings
        ``quantise_aware_steps``, batch, learning rate and seed; ``steps`` does not count.
    command
        Command that reproduces the checkpoint, for its metadata.
    progress
        Called after each step with the number of steps done and that step's loss.

    Returns
    -------
    Checkpoint, LossCurve
        The trained model and its losses during training; calibration rows and baselines are
        those of the checkpoint, and its better loss stays the one to compare with. After an
        interrupt it is the best so far.

    Raises
    ------
    UserError
        A package of the extra is missing, there are several layers, the corpus has other
        characters, or the loss diverged.
    KeyboardInterrupt
        The interrupt came before any step was better than none.
    """
    require_extra()
    config, tokenizer = checkpoint.config, checkpoint.tokenizer
    if config.layers != 1:
        raise UserError(
            f"{checkpoint.name} has {config.layers} layers, and the merged form is built for one: "
            "give a checkpoint of one layer."
        )
    rows = corpus.rows(tokenizer, config)
    weights = trainable({name: checkpoint.weights[name] for name in config.weight_shapes()})
    logits = MergedLogits(config, widths)
    curve, best = LossCurve([], {}), Best()
    before = heldout_loss(config, checkpoint.weights, rows.heldout)
    try:
        optimise(
            weights,
            rows.batches(settings.batch, np.random.default_rng(settings.seed)),
            replace(settings, steps=settings.quantise_aware_steps),
            RECIPES[config.family],
            curve,
            progress,
            best,
            logits,
            lambda seen: mean_loss(logits, seen, rows.heldout, settings.batch),
        )
    except KeyboardInterrupt:
        if not best.step:
            raise
        curve.interrupted = True
    curve.kept = best.step
    stated = checkpoint.metadata.get("heldout", {})
    same = stated.get("set") == corpus.heldout_name
    metadata: dict[str, Any] = {
        **checkpoint.metadata,
        "heldout": {
            "set": corpus.heldout_name,
            "documents": len(rows.heldout),
            "loss": heldout_loss(config, best.weights, rows.heldout),
            "float_phase_loss": min(before, stated.get("float_phase_loss", before))
            if same
            else before,
        },
        "training": {
            "command": command,
            "start": checkpoint.name,
            "form": "merged",
            "weight_bits": widths.weights,
            "key_bits": widths.keys,
            "value_bits": widths.values,
            "seed": settings.seed,
            "batch": settings.batch,
            "learning_rate": settings.learning_rate,
            "quantise_aware_steps": settings.quantise_aware_steps,
            **curve.steps_made(),
        },
    }
    return replace(checkpoint, weights=best.weights, metadata=metadata, name=""), curve
