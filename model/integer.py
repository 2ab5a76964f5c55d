"""The plain integer model: integer tensors and the shift of every site.

Weights are integers on the grids of :mod:`.scales`; :mod:`.network` says what is computed from
them, and which sites have a shift, chosen by :mod:`.quantise`.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from gptloom.model.arithmetic import LOGIT_FRACTION, MANTISSA_BITS, PRE_SHIFT, Integers
from gptloom.model.cache import Eviction
from gptloom.model.config import ModelConfig
from gptloom.model.errors import UserError
from gptloom.model.formats import STANDARD, Precision
from gptloom.model.network import Network, network
from gptloom.model.sites import Key
from gptloom.model.tokenizer import Tokenizer

MAX_SHIFT = 32
"""Largest shift that the hardware's five bits hold, exponent included."""

MIN_TEMPERATURE = 0.1
MAX_TEMPERATURE = 2.0


@dataclass(frozen=True)
class LogitScale:
    """Scale of a logit accumulator: ``mantissa * 2**-shift``, greedy or sampled.

    Sampled logits are ``logit / temperature`` in Q8.7, ready for noise of the same format.
    """

    mantissa: int
    shift: int
    greedy: bool = False


@dataclass(frozen=True)
class IntegerModel:
    """A network in integers, ready for the golden model and for an image.

    Attributes
    ----------
    config, tokenizer
        Shape and tokens of the float checkpoint.
    weights
        Integers by the names of the float checkpoint's weights.
    shifts
        Shifts by layer and name of the site, each 1 to 31 before its exponent is added.
    logit_unit
        Worth of one unit of a logit's accumulator, in nats.
    metadata
        Losses and closeness to the float model, from :func:`.loss.measure`.
    precision
        Widths of everything.
    row_shifts
        Further right shifts of a matrix' rows, each 0 to 15, by the names of the weights; none for
        a matrix with one scale.
    """

    config: ModelConfig
    tokenizer: Tokenizer
    weights: dict[str, Integers]
    shifts: dict[Key, int]
    logit_unit: float
    metadata: dict = field(default_factory=dict)
    precision: Precision = STANDARD
    row_shifts: dict[str, Integers] = field(default_factory=dict)

    @property
    def network(self) -> Network:
        """The table of sites."""
        return network(self.config, self.precision)

    def with_cache(self, rows: int, eviction: Eviction, sinks: int = 0) -> "IntegerModel":
        """Return the model with another KV cache; its loss is yet to be measured.

        Parameters
        ----------
        rows
            Rows of the cache.
        eviction, sinks
            See :class:`.ModelConfig`.

        Raises
        ------
        UserError
            If the model's positions do not allow it.
        """
        config = self.config.with_cache(rows, eviction, sinks)
        stated = ("checkpoint", "float_loss", "loss_set")
        metadata = {k: v for k, v in self.metadata.items() if k in stated}
        return replace(self, config=config, metadata=metadata)

    def logit_scale(self, temperature: float) -> LogitScale:
        """Return the scale of the logits for a sampling temperature; see :func:`logit_scale`."""
        return logit_scale(self.logit_unit, temperature, self.precision.pre_shift)


def logit_scale(logit_unit: float, temperature: float, pre_shift: int = PRE_SHIFT) -> LogitScale:
    """Return the scale of the logits for a sampling temperature; 0 asks for greedy decoding.

    Parameters
    ----------
    logit_unit
        Worth of one unit of a logit's accumulator, in nats.
    temperature
        Sampling temperature, 0.1 to 2.0, or 0.
    pre_shift
        See :class:`.Precision`.

    Raises
    ------
    UserError
        If the temperature is neither 0 nor within 0.1 to 2.0, or the scale is out of range.
    """
    unit = logit_unit * 2.0 ** (LOGIT_FRACTION + pre_shift)
    if temperature == 0:
        return LogitScale(*mantissa_and_shift(unit), greedy=True)
    return LogitScale(*mantissa_and_shift(unit / check_temperature(temperature)))


def check_temperature(temperature: float) -> float:
    """Return `temperature` if sampling supports it, else raise :class:`.UserError`."""
    if not MIN_TEMPERATURE <= temperature <= MAX_TEMPERATURE:
        raise UserError(
            f"temperature {temperature:g} is out of range: choose {MIN_TEMPERATURE} to "
            f"{MAX_TEMPERATURE}, or 0 for greedy decoding"
        )
    return temperature


def mantissa_and_shift(scale: float) -> tuple[int, int]:
    """Return the nearest ``mantissa * 2**-shift`` with a mantissa of ``MANTISSA_BITS`` bits."""
    fraction, exponent = np.frexp(scale)
    mantissa = round(float(fraction) * (1 << MANTISSA_BITS))
    shift = MANTISSA_BITS - int(exponent)
    if mantissa == 1 << MANTISSA_BITS:
        mantissa, shift = mantissa >> 1, shift - 1
    if not 1 <= shift <= MAX_SHIFT:
        raise UserError(
            f"logits need a scale of {scale:.3g}, which is out of the hardware's range: train with "
            "larger or smaller weights in lm_head"
        )
    return mantissa, shift
