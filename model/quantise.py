"""Quantisation of a float checkpoint to a plain integer model.

Weights are rounded to the grids of :mod:`.scales`. The rest, the shift of every site, is chosen on
the checkpoint's calibration rows.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from gptloom.model.checkpoint import Checkpoint
from gptloom.model.errors import UserError
from gptloom.model.family import Family
from gptloom.model.float_model import FloatModel
from gptloom.model.formats import FINE, STANDARD, Precision
from gptloom.model.golden import GoldenModel
from gptloom.model.integer import IntegerModel
from gptloom.model.llama_quantise import llama_grid, quantise_llama
from gptloom.model.loss import Expected, golden_loss, measure
from gptloom.model.network import Network, network
from gptloom.model.scales import (
    MAX_SHIFT,
    UNIT_SHIFT,
    Array,
    WeightScales,
    weight_limit,
    weight_scales,
)
from gptloom.model.sites import Becomes, Key, Kind, Scaling

_SEARCH_DOCUMENTS = 256
"""Calibration documents for the search: more were found to choose the same, only more slowly."""


def quantise(checkpoint: Checkpoint, precision: Precision | None = None) -> IntegerModel:
    """Quantise a float checkpoint; deterministic, about a second for one layer.

    Parameters
    ----------
    checkpoint
        Its calibration rows choose the shifts; the held-out documents are only measured.
    precision
        Widths of everything; that of the family by default.

    Returns
    -------
    IntegerModel
        The model; its metadata come from :func:`.loss.measure`.

    Raises
    ------
    UserError
        Weights are so large that a site would have to shift left.
    """
    quantiser, _, usual = _QUANTISERS[checkpoint.config.family]
    model = quantiser(checkpoint, precision or usual)
    return replace(model, metadata=measure(checkpoint, GoldenModel(model)))


def _quantise_microgpt(checkpoint: Checkpoint, precision: Precision) -> IntegerModel:
    """Round the weights, and search for the shifts."""
    scales = weight_scales(checkpoint.config, checkpoint.weights, precision.weights)
    limit = weight_limit(precision.weights)
    rounded = {
        name: np.clip(np.floor(values + 0.5), -limit, limit).astype(np.int64)
        for name, values in on_grid(checkpoint, scales).items()
    }
    exact = FloatModel(
        checkpoint.config, {name: value / scales.factors[name] for name, value in rounded.items()}
    )
    model = _first_guess(checkpoint, precision, scales, rounded)
    return _choose_shifts(model, Expected(exact, checkpoint.calibration[:_SEARCH_DOCUMENTS]))


def on_grid(checkpoint: Checkpoint, scales: WeightScales) -> dict[str, Array]:
    """Return the weights by name in units of their grids, before rounding."""
    return {
        name: weight.astype(np.float64) * scales.factors[name]
        for name, weight in checkpoint.weights.items()
    }


def grid_of(checkpoint: Checkpoint, precision: Precision) -> dict[str, Array]:
    """Return the weights by name in units of the grids that they are rounded to."""
    _, grid, _ = _QUANTISERS[checkpoint.config.family]
    return grid(checkpoint, precision)


def _microgpt_grid(checkpoint: Checkpoint, precision: Precision) -> dict[str, Array]:
    return on_grid(
        checkpoint, weight_scales(checkpoint.config, checkpoint.weights, precision.weights)
    )


def integer_loss(model: IntegerModel, rows: NDArray[np.integer]) -> float:
    """Return the mean cross-entropy of the integer model in nats per predicted token.

    Parameters
    ----------
    model
        The network.
    rows
        [documents, context + 1] token rows padded with -1.
    """
    return golden_loss(GoldenModel(model), rows)


def _first_guess(
    checkpoint: Checkpoint,
    precision: Precision,
    scales: WeightScales,
    rounded: dict[str, NDArray[np.int64]],
) -> IntegerModel:
    """Make a model of integer weights, with shifts that fit their scales."""
    table = network(checkpoint.config, precision)
    shifts = {site.key: scales.start_shift for site in table.sites if site.kind is Kind.NORM}
    for (layer, path), sites in table.paths.items():
        # The scales along a path are fixed, so its shifts have a fixed sum. The division of the sum
        # chosen here is typical of trained networks, and the start of the search.
        total = scales.exponents[layer, path] + len(sites) * UNIT_SHIFT - sites[-1].is_stream
        shares = [(total + i) // len(sites) for i in range(len(sites))]
        leaning = [share + site.lean for share, site in zip(shares, sites, strict=True)]
        chosen = shares if min(leaning) < 1 else leaning
        if min(chosen) < 1:
            raise UserError(
                f"The weights of layer {layer} are too large for its activations' integers: "
                "train the checkpoint with quantisation-aware steps, or with a lower learning rate."
            )
        shifts |= {site.key: shift for site, shift in zip(sites, chosen, strict=True)}
    return IntegerModel(
        config=checkpoint.config,
        tokenizer=checkpoint.tokenizer,
        weights=rounded,
        shifts=shifts,
        logit_unit=1 / (scales.stream * float(scales.factors[table.head.matrix.name])),
        precision=precision,
    )


def _choose_shifts(model: IntegerModel, expected: Expected) -> IntegerModel:
    """Move factors of two between sites as long as the model comes closer to the expectation."""
    measured: dict[tuple, float] = {}

    def distance(candidate: IntegerModel) -> float:
        # Moves may lead back to models measured before.
        key = tuple(candidate.shifts.items())
        if key not in measured:
            measured[key] = expected.cross_entropy(GoldenModel(candidate))
        return measured[key]

    improved = True
    while improved:
        improved = False
        for change, octaves in _moves(model.network):
            while (candidate := _shifted(model, change, octaves)) is not None:
                if distance(candidate) >= distance(model):
                    break
                model, improved = candidate, True
    return model


Change = dict[Key, int]
"""Changes of shifts, by site."""


def _moves(table: Network) -> Iterator[tuple[Change, int]]:
    """Yield every step of the search: changes of shifts, and octaves that coarsen the stream."""
    for sites in table.paths.values():
        for one, other in combinations(sites, 2):
            yield {one.key: 1, other.key: -1}, 0
            yield {one.key: -1, other.key: 1}, 0
    coarser = _coarser_stream(table)
    yield coarser, 1
    yield {key: -change for key, change in coarser.items()}, -1


def _coarser_stream(table: Network) -> Change:
    """Return the change that halves the integers of the residual stream and leaves all others.

    The embedding's integers stay those of its weights.
    """
    change: Change = {}
    halved, norm_halved = set(), False
    for site in table.sites:
        if site.shifted:
            change[site.key] = (
                site.is_stream
                - (site.source in halved)
                + (site.scale is Scaling.NORM and norm_halved)
            )
        if site.is_stream and site.shifted:
            halved.add(site.key)
            norm_halved |= site.becomes is Becomes.STREAM
    return change


def _shifted(model: IntegerModel, change: Change, octaves: int) -> IntegerModel | None:
    """Return the model with other shifts; None if one is out of range."""
    shifts = {key: shift + change.get(key, 0) for key, shift in model.shifts.items()}
    if not all(1 <= shift <= MAX_SHIFT for shift in shifts.values()):
        return None
    return replace(model, shifts=shifts, logit_unit=model.logit_unit * 2.0**octaves)


_QUANTISERS = {
    Family.MICROGPT: (_quantise_microgpt, _microgpt_grid, STANDARD),
    Family.LLAMA: (quantise_llama, llama_grid, FINE),
}
"""Quantiser, weights before they are rounded, and usual precision of every family."""
