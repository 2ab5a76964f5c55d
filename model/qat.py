"""Quantisation-aware training: the forward pass sees the weights as integers will hold them.

Its gradient goes to the unrounded weights as if nothing had been rounded, the straight-through
estimator of Y. Bengio et al., "Estimating or Propagating Gradients Through Stochastic Neurons",
2013; for integer networks: B. Jacob et al., "Quantization and Training of Neural Networks for
Efficient Integer-Arithmetic-Only Inference", 2018.

Activations stay real: with 10 bits they cost little, and the golden model remains the only place
that defines their rounding.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from gptloom.model.config import ModelConfig
from gptloom.model.scales import weight_scales

if TYPE_CHECKING:
    import torch

LEARNING_RATE = 0.004
"""Highest of the phase: enough to settle on other grid points, too little to start anew."""

PEAK = 4.0
"""Largest weight in units of its tensor's rms.

The largest weight sets the grid of its tensor, so one outlier makes all others coarse.
"""


class Grid:
    """The integer grid under the weights of one network, which moves with them.

    Parameters
    ----------
    config
        The shape.
    weights
        float32 tensors by name, at the start of the phase: their rms sets the limits.
    """

    def __init__(self, config: ModelConfig, weights: Mapping[str, "torch.Tensor"]):
        self.config = config
        self._limits = {
            name: PEAK * float(weight.detach().square().mean().sqrt())
            for name, weight in weights.items()
        }

    def round(self, weights: Mapping[str, "torch.Tensor"]) -> dict[str, "torch.Tensor"]:
        """Return the weights as the quantiser would round them now.

        The gradient of the result passes to the given tensors unchanged.
        """
        import torch

        arrays = {name: weight.detach().numpy() for name, weight in weights.items()}
        factors = weight_scales(self.config, arrays).factors
        rounded = {}
        for name, weight in weights.items():
            factor = torch.from_numpy(np.asarray(factors[name], dtype=np.float32))
            error = torch.floor(weight.detach() * factor + 0.5) / factor - weight.detach()
            rounded[name] = weight + error
        return rounded

    def limit(self, weights: Mapping[str, "torch.Tensor"]) -> None:
        """Clip outliers in place (`PEAK`)."""
        for name, weight in weights.items():
            weight.detach().clamp_(-self._limits[name], self._limits[name])
