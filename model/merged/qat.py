"""Quantisation-aware training of the merged form.

The trained weights are the plain ones. Each forward pass merges them, rounds tables and matrices
to the grids that :mod:`.grids` would fit now, and goes on in real numbers; the gradient ignores
rounding (:mod:`gptloom.model.qat` tells why), and passes through merging exactly.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from gptloom.model.config import ModelConfig
from gptloom.model.merged.algebra import Merged, merge
from gptloom.model.merged.grids import fit_grids, table_formats, table_units
from gptloom.model.merged.integer import Widths
from gptloom.model.torch_model import score_bias

if TYPE_CHECKING:
    import torch


class MergedLogits:
    """Logits of the rounded merged form, as a differentiable function of the plain weights.

    Parameters
    ----------
    config
        Shape with one layer.
    widths
        Bits of matrices and table.
    """

    def __init__(self, config: ModelConfig, widths: Widths):
        self.config = config
        self.widths = widths

    def rounded(self, weights: Mapping[str, "torch.Tensor"]) -> Merged:
        """Return the merged form as the quantiser would round it now.

        Its gradient passes to the exact merged form unchanged, except for clipped values.
        """
        import torch

        merged = merge(self.config, weights, torch.cat)
        (matrix,) = merged.layers
        arrays = Merged(
            self.config,
            {name: rows.detach().double().numpy() for name, rows in merged.table.items()},
            ({name: rows.detach().double().numpy() for name, rows in matrix.items()},),
            (),
        )
        (grids,) = fit_grids(arrays, self.widths)
        units = table_units(grids, table_formats(arrays, grids, self.widths))
        table = {
            name: _round(rows, units[name], self.widths.of_entry(name))
            for name, rows in merged.table.items()
        }
        matrix = {
            name: _round(rows, grids.matrices[name], self.widths.weights)
            for name, rows in matrix.items()
        }
        return Merged(self.config, table, (matrix,), merged.asked)

    def __call__(
        self, weights: Mapping[str, "torch.Tensor"], tokens: "torch.Tensor"
    ) -> "torch.Tensor":
        """Return the logits [batch, positions, vocabulary] of int64 tokens [batch, positions]."""
        import torch
        from torch.nn import functional

        config, merged = self.config, self.rounded(weights)
        (matrix,) = merged.layers
        batch, positions = tokens.shape
        places = merged.table["q"].shape[1]
        where = tokens * places + torch.arange(positions) % places
        entry = {
            name: functional.embedding(where, rows.flatten(0, 1))
            for name, rows in merged.table.items()
        }
        q, k, v = (
            entry[name].view(batch, positions, config.heads, -1).transpose(1, 2)
            for name in ("q", "k", "v")
        )
        # Scores are in octaves already.
        bias = score_bias(config, positions, q.dtype)
        a = functional.scaled_dot_product_attention(
            q, k, v, attn_mask=bias, is_causal=bias is None, scale=np.log(2)
        )
        a = a.transpose(1, 2).reshape(batch, positions, config.width)
        u = (entry["fx"] + functional.linear(a, matrix["a1"])).relu()
        residual = entry["x"] + functional.linear(a, matrix["wo"])
        norm = residual.square().mean(-1, keepdim=True).rsqrt()
        mlp = norm * functional.linear(u, matrix["b"])
        return entry["lx"] + functional.linear(a, matrix["a2"]) + mlp


def _round(values: "torch.Tensor", unit: np.ndarray, bits: int) -> "torch.Tensor":
    """Round half up in units of ``1 / unit``; clipped values stay at the limit."""
    import torch

    unit = torch.from_numpy(np.asarray(unit, dtype=np.float32))
    limit = (1 << (bits - 1)) - 1
    inside = (values * unit).clamp(-limit, limit)
    return (inside + (torch.floor(inside.detach() + 0.5) - inside.detach())) / unit
