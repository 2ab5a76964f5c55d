"""Gains of norms, which become factors of the columns of the matrices that follow."""

from collections.abc import Mapping
from typing import TypeVar

import numpy as np

from gptloom.model.config import ModelConfig
from gptloom.model.family import Family

Tensor = TypeVar("Tensor")
"""Arrays of NumPy or PyTorch."""

ATTENTION_GAIN, MLP_GAIN, FINAL_GAIN = "attn_gain", "mlp_gain", "final_gain"
"""Names of gains; those of a layer come after its name and a dot."""

_FOLLOW = {
    ATTENTION_GAIN: ("attn_wq", "attn_wk", "attn_wv"),
    MLP_GAIN: ("mlp_gate", "mlp_up", "mlp_fc1"),
}


def is_gain(name: str) -> bool:
    """Tell whether a tensor's name is that of a gain."""
    return name.rpartition(".")[2] in (ATTENTION_GAIN, MLP_GAIN, FINAL_GAIN)


def ones(config: ModelConfig) -> dict[str, np.ndarray]:
    """Return the gains with which training begins, by name: none for a microGPT."""
    if config.family is not Family.LLAMA:
        return {}
    names = [f"layer{n}.{gain}" for n in range(config.layers) for gain in _FOLLOW]
    return {name: np.ones(config.width) for name in [*names, FINAL_GAIN]}


def folded(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint: :func:`fold_gains` of a copy."""
    copy = dict(weights)
    fold_gains(copy)
    return copy


def fold_gains(weights: dict[str, Tensor]) -> None:
    """Multiply matrices by the gains before them, which disappear.

    The final gain stays if there is no matrix of the logits: then this is the embedding.

    Parameters
    ----------
    weights
        Tensors by their names in checkpoints, and gains, [columns].
    """
    for name in [*weights]:
        layer, _, gain = name.rpartition(".")
        if gain not in _FOLLOW:
            continue
        factors = weights.pop(name)
        for matrix in _FOLLOW[gain]:
            if (follows := f"{layer}.{matrix}") in weights:
                weights[follows] = weights[follows] * factors
    if FINAL_GAIN in weights:
        if "lm_head" in weights:
            weights["lm_head"] = weights["lm_head"] * weights.pop(FINAL_GAIN)
        else:
            weights[FINAL_GAIN] = weights[FINAL_GAIN][None]
