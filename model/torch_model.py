"""The float model in PyTorch, for gradients; imported where it is used, as in :mod:`.training`."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from gptloom.model.config import ModelConfig
from gptloom.model.positions import Positions, slopes

if TYPE_CHECKING:
    import torch


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
        return x * (x.square().mean(-1, keepdim=True) + config.epsilon).rsqrt()

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
    """Return ALiBi's bias of scores in nats, [heads, positions, positions]; None without it.

    Later keys are masked.
    """
    import torch

    if config.positions is Positions.LEARNED:
        return None
    distance = torch.arange(positions)[:, None] - torch.arange(positions)
    slope = torch.tensor(slopes(config.heads), dtype=dtype)[:, None, None]
    return (-slope * distance).masked_fill(distance < 0, -math.inf)
