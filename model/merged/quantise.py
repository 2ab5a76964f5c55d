"""Float checkpoint to merged integer model.

Matrices are rounded to the grids of :mod:`.grids`. The formats of the sites are chosen on the
checkpoint's calibration rows: first so that all values fit, then as long as predictions improve.
"""

from dataclasses import replace

import numpy as np

from gptloom.model.arithmetic import MANTISSA_BITS
from gptloom.model.checkpoint import Checkpoint
from gptloom.model.errors import UserError
from gptloom.model.float_model import FloatModel
from gptloom.model.loss import Expected, measure
from gptloom.model.merged.algebra import Merged, MergedFloat, merge
from gptloom.model.merged.golden import GoldenModel
from gptloom.model.merged.grids import (
    SMALLEST,
    Formats,
    Grids,
    added_formats,
    fit_grids,
    shifts,
    table_formats,
    table_units,
)
from gptloom.model.merged.integer import MergedModel, Widths

_SEARCH_DOCUMENTS = 256

_SEARCHED = ("fx", "x", "lx", "mix", "hidden", "residual", "root", "direct")
"""``product`` is not: it would become as fine as it can, however wide."""

MAX_SHIFT = 24


def quantise(checkpoint: Checkpoint, widths: Widths | None = None) -> MergedModel:
    """Quantise a float checkpoint of one layer; deterministic, a few seconds.

    Parameters
    ----------
    checkpoint
        Its calibration rows choose the formats; the held-out documents are only measured.
    widths
        Bits of weights and activations, 8 where nothing is said.

    Returns
    -------
    MergedModel
        Its metadata are what :func:`.loss.measure` says of it.

    Raises
    ------
    UserError
        The network has several layers, or its weights are so large that something would have to
        be shifted the other way.
    """
    config = checkpoint.config
    if config.layers != 1:
        raise UserError(
            f"{checkpoint.name} has {config.layers} layers, and the merged form is built for one: "
            "give a checkpoint of one layer, or --form plain."
        )
    widths = widths or Widths()
    weights = {name: weight.astype(np.float64) for name, weight in checkpoint.weights.items()}
    merged = merge(config, weights)
    grids = fit_grids(merged, widths)
    rows = checkpoint.calibration[:_SEARCH_DOCUMENTS]

    def build(formats: Formats) -> MergedModel | None:
        return _build(checkpoint, merged, grids, widths, formats)

    formats = _first_guess(merged, grids, widths, rows)
    model = build(formats)
    if model is None:
        raise UserError(
            f"The weights of {checkpoint.name} are too unlike in size for the merged form's "
            "integers: train the checkpoint with quantisation-aware steps."
        )
    expected = Expected(FloatModel(config, checkpoint.weights), rows)
    model = _search(build, formats, expected)
    return replace(model, metadata=measure(checkpoint, GoldenModel(model)))


def _build(checkpoint, merged, grids, widths, formats) -> MergedModel | None:
    """Round to the grids; None where a shift is none that hardware can have."""
    found = shifts(grids, formats)
    if not all(0 <= shift <= MAX_SHIFT for shift in found.values()):
        return None
    units = table_units(grids, added_formats(formats))
    (matrix,) = merged.layers
    return MergedModel(
        config=checkpoint.config,
        tokenizer=checkpoint.tokenizer,
        widths=widths,
        table={
            name: round_to(values * units[name], widths.table)
            for name, values in merged.table.items()
        },
        weights={
            name: round_to(values * grids.matrices[name], widths.weights)
            for name, values in matrix.items()
        },
        shifts=found,
        logit_unit=2.0**-formats.direct / grids.direct,
    )


def round_to(values, bits: int):
    """Round half up to integers of `bits` bits, as many below zero as above."""
    limit = (1 << (bits - 1)) - 1
    return np.clip(np.floor(values + 0.5), -limit, limit).astype(np.int64)


def _first_guess(merged: Merged, grids: Grids, widths: Widths, rows) -> Formats:
    """Return the finest formats in which nothing saturates on some rows."""
    peaks = {}
    predicted = rows[:, 1:] >= 0

    def note(_, site, value):
        peaks[site] = np.maximum(np.abs(value[predicted]).max(axis=0), SMALLEST)

    MergedFloat(merged).logits(np.maximum(rows[:, :-1], 0), note)

    def finest(site, bits, unit):
        return int(np.floor(np.log2(((1 << bits) - 1) / np.max(peaks[site] * unit))))

    # Nothing is finer than the sum that it comes from or is added to.
    mix = finest("mix", widths.activations - 1, grids.values)
    hidden = min(mix, finest("hidden", widths.activations, grids.hidden))
    residual = min(mix, finest("residual", widths.residual - 1, grids.residual))
    unit = grids.residual * np.sqrt(merged.config.width)
    root = min(residual + MANTISSA_BITS - 1, finest("root", widths.root, unit))
    direct = min(mix, finest("direct", widths.direct - 1, grids.direct))
    product = min(
        hidden,
        finest("product", widths.product - 1, grids.product),
        direct + root - grids.norm_exponent,
    )
    return Formats(
        **table_formats(merged, grids, widths),
        mix=mix,
        hidden=hidden,
        residual=residual,
        root=root,
        direct=direct,
        product=product,
    )


def _search(build, formats: Formats, expected: Expected) -> MergedModel:
    """Make formats finer or coarser as long as the model comes closer to what is expected."""
    measured = {}

    def distance(candidate: Formats) -> float:
        if candidate not in measured:
            model = build(candidate)
            measured[candidate] = (
                np.inf if model is None else expected.cross_entropy(GoldenModel(model))
            )
        return measured[candidate]

    improved = True
    while improved:
        improved = False
        for site in _SEARCHED:
            for step in (1, -1):
                while True:
                    candidate = replace(formats, **{site: getattr(formats, site) + step})
                    if distance(candidate) >= distance(formats):
                        break
                    formats, improved = candidate, True
    return build(formats)
