"""Gains of norms, which become factors of the columns of the matrices that follow."""

import numpy as np

ATTENTION_GAIN, MLP_GAIN, FINAL_GAIN = "attn_gain", "mlp_gain", "final_gain"
"""Names of gains; those of a layer come after its name and a dot."""

_FOLLOW = {
    ATTENTION_GAIN: ("attn_wq", "attn_wk", "attn_wv"),
    MLP_GAIN: ("mlp_gate", "mlp_up", "mlp_fc1"),
}


def fold_gains(weights: dict[str, np.ndarray]) -> None:
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
