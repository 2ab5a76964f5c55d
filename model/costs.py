"""Cost of each approximation of an integer model, in nats per token.

The golden model's own graph is executed on real numbers, with one approximation at a time put
back. With all of them put back it is the golden model again.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gptloom.model import arithmetic, positions, tables
from gptloom.model.arithmetic import (
    MANTISSA_BITS,
    PRE_SHIFT,
    SCORE_FRACTION,
    SCORE_SHIFT,
)
from gptloom.model.checkpoint import Checkpoint
from gptloom.model.golden import GoldenModel, Operations
from gptloom.model.integer import IntegerModel
from gptloom.model.loss import golden_loss
from gptloom.model.quantise import on_grid
from gptloom.model.scales import weight_scales
from gptloom.model.sites import Kind

EMBEDDINGS = "embeddings"
"""Tokens and positions together, which are rounded to the same grid."""

TABLES = ("rsqrt", "exp2", "reciprocal")

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
        Loss with this approximation alone, minus the loss without any.
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
        Loss of the checkpoint's weights without any approximation (nor the epsilon of the norms).
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
    matrices = [site.matrix.name for site in table.sites if site.matrix]
    found = [Cost("weights", name, bits, None, 0.0) for name in (EMBEDDINGS, *matrices)]
    for site in table.sites:
        if site.kind is Kind.SCORES:
            shift = SCORE_SHIFT
        elif site.scale:
            shift = model.shifts.get(site.key)
        else:
            continue
        found.append(Cost("activations", site.label, site.bits, shift, 0.0))
    found += [Cost("tables", name, MANTISSA_BITS, None, 0.0) for name in TABLES]
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
        The table of exp2 is addressed by rounded scores: its cost is what it adds to theirs.
        Costs can be negative, especially after quantisation-aware training, and their sum is not
        quite the cost of all.
    """
    scales = weight_scales(checkpoint.config, checkpoint.weights, model.precision.weights)
    grid = on_grid(checkpoint, scales)
    losses: dict[frozenset[str], float] = {}

    def loss_with(names: Collection[str]) -> float:
        key = frozenset(names)
        if key not in losses:
            losses[key] = golden_loss(_partly_exact(model, grid, key), rows)
        return losses[key]

    scores = {site.label for site in model.network.sites if site.kind is Kind.SCORES}

    def cost_of(names: set[str]) -> float:
        beside = scores - names if "exp2" in names else set()
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


def _partly_exact(
    model: IntegerModel, grid: dict[str, Real], approximate: Collection[str]
) -> GoldenModel:
    """Return the golden model with real numbers everywhere except at the given sites."""
    embeddings = {tensor.name: EMBEDDINGS for tensor in model.network.embeddings}
    weights = {
        name: rounded if embeddings.get(name, name) in approximate else grid[name]
        for name, rounded in model.weights.items()
    }
    return GoldenModel(replace(model, weights=weights), _PartlyExact(approximate))


class _PartlyExact(Operations):
    """The machine's operations at the given sites, and real-valued ones at all others.

    Scales keep their form of mantissa and exponent; a real one has a real mantissa.
    """

    def __init__(self, approximate: Collection[str]):
        super().__init__()
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
            return arithmetic.quantise_score(np.floor(accumulators))
        return accumulators / (1 << SCORE_SHIFT)

    def penalty(self, site, distance, heads):
        if site.label in self._approximate:
            return positions.penalty(distance, heads)
        return (distance[..., None] << SCORE_FRACTION) * 2.0 ** positions.slope_shifts(heads)

    def requantise(self, site, accumulators, scale, shift):
        mantissa, exponent = scale
        if site.label in self._approximate:
            mantissa = np.rint(mantissa * 2.0**_FINER).astype(np.int64)
            shift = shift + exponent + _FINER
            return arithmetic.requantise(np.floor(accumulators), mantissa, shift, site.bits)
        return accumulators * mantissa * 2.0 ** -(shift + exponent + PRE_SHIFT)

    def saturate(self, site, value):
        if site.label in self._approximate:
            return arithmetic.saturate(np.rint(value), site.bits)
        return value
