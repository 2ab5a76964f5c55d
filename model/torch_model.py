"""The float model in PyTorch, for gradients; imported where it is used, as in :mod:`.training`."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from gptloom.model.cache import Eviction
from gptloom.model.config import ModelConfig
from gptloom.model.network import network
from gptloom.model.positions import Positions, angles, slopes
from gptloom.model.sites import Combination, Function, Key, Kind

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

    functions = {
        Function.NONE: lambda x: x,
        Function.RELU: functional.relu,
        Function.SILU: functional.silu,
    }
    table = network(replace(config, eviction=Eviction.NONE, sinks=0))
    positions, kind = tokens.shape[1], weights[table.tokens.name].dtype
    bias = score_bias(config, positions, kind)
    rotors = _rotors(config, positions, kind) if config.positions is Positions.ROTARY else None
    found: dict[Key, torch.Tensor] = {}
    stream = normed = None
    for site in table.sites:
        source = normed if site.normed else found.get(site.source)
        match site.kind:
            case Kind.EMBEDDING:
                value = weights[table.tokens.name][tokens]
                if table.positions:
                    value = value + weights[table.positions.name][:positions]
            case Kind.NORM:
                value = source * weights[site.gain.name] if site.gain else source
            case Kind.PRODUCT:
                value = functional.linear(source, weights[site.matrix.name])
            case Kind.MIX:
                score = table.of_kind(Kind.SCORES, site.layer)
                rows = (found[key] for key in (score.source, score.rows, site.rows))
                value = functional.scaled_dot_product_attention(
                    *(_by_head(config, row) for row in rows),
                    attn_mask=bias,
                    is_causal=bias is None,
                )
                value = value.transpose(1, 2).reshape(*tokens.shape, site.elements)
            case _:
                # Scores and their softmax are part of the mix.
                continue
        if site.rotated:
            value = _rotated(value, rotors)
        value = functions[site.function](value)
        match site.combination:
            case Combination.ADD:
                value = stream + value
            case Combination.MULTIPLY:
                value = found[site.factor] * value
        if site.is_stream:
            mean = value.square().mean(-1, keepdim=True)
            stream, normed = value, value * (mean + config.epsilon).rsqrt()
        found[site.key] = value
    return value


def _by_head(config: ModelConfig, rows: "torch.Tensor") -> "torch.Tensor":
    """Return rows [batch, time, width] as [batch, heads, time, head width].

    Cached rows are repeated for all heads that share them.
    """
    split = rows.view(*rows.shape[:2], -1, config.head_width).transpose(1, 2)
    shared = config.heads // split.shape[1]
    return split if shared == 1 else split.repeat_interleave(shared, dim=1)


def _rotors(config: ModelConfig, positions: int, kind: "torch.dtype") -> "torch.Tensor":
    """Return complex numbers that turn every pair of a head's elements, [positions, 1, pairs]."""
    import torch

    angle = torch.from_numpy(angles(range(positions), config.head_width, config.theta)).to(kind)
    return torch.polar(torch.ones_like(angle), angle)[:, None]


def _rotated(rows: "torch.Tensor", rotors: "torch.Tensor") -> "torch.Tensor":
    """Return rows [batch, time, width] with every pair of elements turned."""
    import torch

    pairs = torch.view_as_complex(rows.view(*rows.shape[:2], -1, rotors.shape[-1], 2))
    return torch.view_as_real(pairs * rotors).reshape(rows.shape)


def score_bias(config: ModelConfig, positions: int, dtype: "torch.dtype") -> "torch.Tensor | None":
    """Return ALiBi's bias of scores in nats, [heads, positions, positions]; None without it.

    Later keys are masked.
    """
    import torch

    if config.positions is not Positions.ALIBI:
        return None
    distance = torch.arange(positions)[:, None] - torch.arange(positions)
    slope = torch.tensor(slopes(config.heads), dtype=dtype)[:, None, None]
    return (-slope * distance).masked_fill(distance < 0, -math.inf)
