"""From a float checkpoint to one whose merged form can do with fewer bits."""

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
from gptloom.model.training import TrainingSettings, heldout_loss, optimise, require_extra


def refine_checkpoint(
    checkpoint: Checkpoint,
    corpus: Corpus,
    widths: Widths,
    settings: TrainingSettings,
    command: str,
    progress: Callable[[int, float], None] = lambda step, loss: None,
) -> tuple[Checkpoint, LossCurve]:
    """Train a checkpoint on, its merged form being seen as integers of some widths.

    Parameters
    ----------
    checkpoint
        Where to start; of one layer.
    corpus
        What to train and to measure on, of the checkpoint's characters.
    widths
        Bits of the matrices, of the table, of keys and values.
    settings
        ``quantise_aware_steps``, batch, learning rate and seed; ``steps`` does not count.
    command
        What reproduces the checkpoint, for its metadata.
    progress
        Called after each step with the number of steps done and that step's loss.

    Returns
    -------
    Checkpoint, LossCurve
        The trained model and how it came about; calibration rows and baselines are those of the
        checkpoint, and its better loss stays the one to compare with.

    Raises
    ------
    UserError
        A package of the extra is missing, there are several layers, the corpus has other
        characters, or the loss diverged.
    """
    require_extra()
    import torch

    config, tokenizer = checkpoint.config, checkpoint.tokenizer
    if config.layers != 1:
        raise UserError(
            f"{checkpoint.name} has {config.layers} layers, and the merged form is built for one: "
            "give a checkpoint of one layer."
        )
    make_rows = tokenizer.rows_of(config.positions)
    rows, heldout = (make_rows(part, config.context) for part in (corpus.training, corpus.heldout))
    weights = {
        name: torch.tensor(checkpoint.weights[name], requires_grad=True)
        for name in config.weight_shapes()
    }
    curve = LossCurve([], {})
    before = heldout_loss(config, weights, heldout)
    optimise(
        config,
        weights,
        rows,
        heldout,
        replace(settings, steps=settings.quantise_aware_steps),
        np.random.default_rng(settings.seed),
        curve,
        progress,
        MergedLogits(config, widths),
    )
    stated = checkpoint.metadata.get("heldout", {})
    same = stated.get("set") == corpus.heldout_name
    metadata: dict[str, Any] = {
        **checkpoint.metadata,
        "heldout": {
            "set": corpus.heldout_name,
            "documents": len(heldout),
            "loss": heldout_loss(config, weights, heldout),
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
        },
    }
    trained = {name: weight.detach().numpy() for name, weight in weights.items()}
    return replace(checkpoint, weights=trained, metadata=metadata, name=""), curve
