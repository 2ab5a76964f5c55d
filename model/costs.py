"""Cost of each approximation of an integer model, in nats per token.

The golden model's own graph is executed on real numbers, with one approximation at a time put
back. With all of them put back it is the golden model again.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gptloom.model import positions, tables
from gptloom.model.arithmetic import (
    GATE_SHIFT,
    MANTISSA_BITS,
    ROTARY_FRACTION,
    SCORE_FRACTION,
    SILU_FRACTION,
    SILU_RESULT_BITS,
    SILU_RESULT_FRACTION,
)
from gptloom.model.checkpoint import Checkpoint
from gptloom.model.family import Family
from gptloom.model.float_model import FloatModel
from gptloom.model.formats import Precision
from gptloom.model.golden import GoldenModel, Operations
from gptloom.model.integer import IntegerModel
from gptloom.model.loss import Expected, Predictor, golden_loss
from gptloom.model.quantise import grid_of
from gptloom.model.sites import Function, Kind, Scaling

EMBEDDINGS = "embeddings"
"""Tokens and positions together, which are rounded to the same grid."""

TABLES = {"rsqrt": MANTISSA_BITS, "exp2": MANTISSA_BITS, "reciprocal": MANTISSA_BITS}
"""Bits of the entries of each table."""

LLAMA_TABLES = TABLES | {"rotation": ROTARY_FRACTION + 1, "silu": SILU_RESULT_BITS}
"""The same for the family of Llama."""

_FINER = 20
"""Bits by which real numbers are scaled up before an integer operation takes them."""

Real = NDArray[np.float64]


@dataclass(frozen=True)
class Cost:
    """One approximation.

    Attributes
    ----------
    kind
        ``weights``, ``activations`` or ``tables``.
    site
        The matrix by its name in the checkpoint, the site (those of a layer begin with its number)
        or the table.
    bits
        Width of the numbers.
    shift
        The shift chosen for a site; None if there is nothing to choose.
    nats
        Loss with this approximation alone, minus the loss without any. The family of Llama has
        its divergence from the float model (KL) instead: what a text's next tokens show of so small
        a difference is luck.
    """

    kind: str
    site: str
    bits: int
    shift: int | None
    nats: float


@dataclass(frozen=True)
class Costs:
    """Costs of the approximations of a model.

    Attributes
    ----------
    exact
        Loss of the checkpoint's weights without any approximation (nor the epsilon of the norms);
        in the family of Llama, cross-entropy with the float model's predictions.
    sites
        Cost of every approximation by itself.
    together
        Cost of all approximations of each kind together, and under ``all`` of every kind: nats
        above `exact`.
    """

    exact: float
    sites: list[Cost]
    together: dict[str, float]


def approximations(model: IntegerModel) -> list[Cost]:
    """Return every approximation of a model, in order of computation, with its cost still 0."""
    table, bits = model.network, model.precision.weights
    parts = [part for site in table.sites for part in (site.matrix, site.gain) if part]
    names = [part.name for part in parts if part not in table.embeddings]
    found = [Cost("weights", name, bits, None, 0.0) for name in (EMBEDDINGS, *names)]
    for site in table.sites:
        if site.kind is Kind.SCORES:
            shift = model.precision.score_shift
        elif site.scale:
            shift = model.shifts.get(site.key)
        else:
            continue
        found.append(Cost("activations", site.label, site.bits, shift, 0.0))
    tables_of = LLAMA_TABLES if model.config.family is Family.LLAMA else TABLES
    found += [Cost("tables", name, entry, None, 0.0) for name, entry in tables_of.items()]
    return found


def approximation_costs(
    checkpoint: Checkpoint,
    model: IntegerModel,
    rows: NDArray[np.integer],
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Costs:
    """Measure the cost of every approximation of a quantised checkpoint.

    Parameters
    ----------
    checkpoint
        The checkpoint that was quantised.
    model
        Its integer model.
    rows
        [documents, context + 1] token rows to measure on.
    progress
        Called with the number of approximations measured and the number of all.

    Returns
    -------
    Costs
        The tables of exp2 and SiLU are addressed by rounded numbers: the cost of such a table is
        what it adds to theirs.
        Costs can be negative, especially after quantisation-aware training, and their sum is not
        quite the cost of all.
    """
    grid, loss = grid_of(checkpoint, model.precision), _measure(checkpoint, rows)
    losses: dict[frozenset[str], float] = {}

    def loss_with(names: Collection[str]) -> float:
        key = frozenset(names)
        if key not in losses:
            losses[key] = loss(_partly_exact(model, grid, key))
        return losses[key]

    addresses = {
        "exp2": {site.label for site in model.network.sites if site.kind is Kind.SCORES},
        "silu": {site.label for site in model.network.sites if site.function is Function.SILU},
    }

    def cost_of(names: set[str]) -> float:
        beside = {site for table in names & {*addresses} for site in addresses[table]} - names
        return loss_with(names | beside) - loss_with(beside)

    found = approximations(model)
    sites = []
    for done, item in enumerate(found, start=1):
        sites.append(replace(item, nats=cost_of({item.site})))
        progress(done, len(found))
    together = {
        kind: cost_of({item.site for item in found if item.kind == kind})
        for kind in dict.fromkeys(item.kind for item in found)
    }
    together["all"] = cost_of({item.site for item in found})
    return Costs(loss_with(()), sites, together)


def _measure(checkpoint: Checkpoint, rows: NDArray[np.integer]) -> Callable[[Predictor], float]:
    """Return the function that measures a golden model."""
    if checkpoint.config.family is Family.LLAMA:
        return Expected(FloatModel(checkpoint.config, checkpoint.weights), rows).cross_entropy
    return lambda golden: golden_loss(golden, rows)


def _partly_exact(
    model: IntegerModel, grid: dict[str, Real], approximate: Collection[str]
) -> GoldenModel:
    """Return the golden model with real numbers everywhere except at the given sites."""
    embeddings = {tensor.name: EMBEDDINGS for tensor in model.network.embeddings}
    weights = {
        name: rounded if embeddings.get(name, name) in approximate else grid[name]
        for name, rounded in model.weights.items()
    }
    operations = _PartlyExact(model.precision, approximate)
    return GoldenModel(replace(model, weights=weights), operations)


class _PartlyExact(Operations):
    """The machine's operations at the given sites, and real-valued ones at all others.

    Scales keep their form of mantissa and exponent; a real one has a real mantissa.
    """

    def __init__(self, precision: Precision, approximate: Collection[str]):
        super().__init__(precision)
        self._approximate = approximate

    def rsqrt(self, value):
        if "rsqrt" in self._approximate:
            # A factor of a power of four passes through the table as a power of two.
            mantissa, exponent = tables.rsqrt(np.rint(value * 2.0**_FINER))
            return mantissa, exponent - _FINER // 2
        return 2.0**MANTISSA_BITS / np.sqrt(np.maximum(value, 1e-9)), np.zeros_like(value, np.int64)

    def reciprocal(self, value):
        if "reciprocal" in self._approximate:
            mantissa, exponent = tables.reciprocal(np.rint(value * 2.0**_FINER))
            return mantissa, exponent - _FINER
        return 2.0**MANTISSA_BITS / value, np.zeros_like(value, np.int64)

    def exp2_negative(self, distance):
        if "exp2" in self._approximate:
            return tables.exp2_negative(distance)
        return tables.EXP2_TABLE[0] * 2.0 ** (-distance / (1 << SCORE_FRACTION))

    def quantise_score(self, site, accumulators):
        if site.label in self._approximate:
            return super().quantise_score(site, np.floor(accumulators))
        return accumulators / (1 << self.precision.score_shift)

    def penalty(self, site, distance, heads):
        if site.label in self._approximate:
            return positions.penalty(distance, heads)
        return (distance[..., None] << SCORE_FRACTION) * 2.0 ** positions.slope_shifts(heads)

    def requantise(self, site, accumulators, scale, shift):
        mantissa, exponent = scale
        if site.label in self._approximate:
            # As large as the tables have them, for the exponent is used by itself.
            octaves = MANTISSA_BITS - np.frexp(mantissa)[1]
            finer = np.rint(mantissa * 2.0 ** (octaves + _FINER)).astype(np.int64)
            whole = np.floor(accumulators).astype(np.int64)
            return super().requantise(site, whole, (finer, exponent + octaves), shift + _FINER)
        pre_shift = self.precision.pre_shift
        if site.scale is Scaling.SUM and self.precision.exponent_first:
            pre_shift = 0
        return accumulators * mantissa * 2.0 ** -(shift + exponent + pre_shift)

    def saturate(self, site, value):
        if site.label in self._approximate:
            return super().saturate(site, np.rint(value))
        return value

    def rotation(self, places, width, theta):
        if "rotation" in self._approximate:
            return super().rotation(places, width, theta)
        angles = positions.angles(places, width, theta)
        return np.cos(angles) * 2.0**ROTARY_FRACTION, np.sin(angles) * 2.0**ROTARY_FRACTION

    def rotate(self, site, pairs, cosine, sine):
        even, odd = np.moveaxis(pairs, -1, 0)
        turned = np.stack([even * cosine - odd * sine, even * sine + odd * cosine], axis=-1)
        turned = turned * 2.0 ** -(ROTARY_FRACTION + site.scaled_bits - site.bits)
        return self._rounded(site, turned)

    def silu(self, value):
        if "silu" in self._approximate:
            return super().silu(np.rint(value))
        argument = value / 2.0**SILU_FRACTION
        return argument / (1 + np.exp(-argument)) * 2.0**SILU_RESULT_FRACTION

    def gated(self, site, value, gate):
        return self._rounded(site, value * gate * 2.0**-GATE_SHIFT)

    def _rounded(self, site, value):
        if site.label in self._approximate:
            return super().saturate(site, np.floor(value + 0.5))
        return value
