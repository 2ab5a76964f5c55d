"""Quantisation of a float checkpoint to a merged integer model.

Matrices are rounded to the grids of :mod:`.grids`. The formats of the sites are chosen on the
checkpoint's calibration rows: first so that all values fit, then as long as predictions improve.
"""

import itertools
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

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
    added_formats,
    first_shifts,
    fit_grids,
    later_shifts,
    stream_exponent,
    table_formats,
    table_units,
)
from gptloom.model.merged.integer import Layer, MergedModel, Widths

_SEARCH_DOCUMENTS = 256

MAX_SHIFT = 24


def quantise(checkpoint: Checkpoint, widths: Widths | None = None) -> MergedModel:
    """Quantise a float checkpoint; deterministic, a few seconds.

    Parameters
    ----------
    checkpoint
        Its calibration rows choose the formats; the held-out documents are only measured.
    widths
        Bits of weights and activations; :func:`refined_widths` by default.

    Returns
    -------
    MergedModel
        The model; its metadata come from :func:`.loss.measure`.

    Raises
    ------
    UserError
        The weights are so large that something would have to be shifted the other way.
    """
    config = checkpoint.config
    widths = widths or refined_widths(checkpoint)
    weights = {name: weight.astype(np.float64) for name, weight in checkpoint.weights.items()}
    merged = merge(config, weights)
    grids = fit_grids(merged, widths)
    rows = checkpoint.calibration[:_SEARCH_DOCUMENTS]

    def build(formats: list[Formats]) -> MergedModel | None:
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


def refined_widths(checkpoint: Checkpoint) -> Widths:
    """Return the widths that a checkpoint was refined for; 8 bits for others."""
    training = checkpoint.metadata.get("training", {})
    if training.get("form") == "merged":
        bits = {name: training.get(f"{name}_bits", 8) for name in ("key", "value")}
        return Widths(weights=training["weight_bits"], keys=bits["key"], values=bits["value"])
    return Widths()


def _build(checkpoint, merged, grids, widths, formats) -> MergedModel | None:
    """Round to the grids; None if hardware cannot do one of the shifts."""
    shifts = [first_shifts(grids[0], formats[0])]
    for before, after in itertools.pairwise(zip(grids, formats, strict=True)):
        shifts.append(later_shifts(*before, *after))
    if not all(0 <= shift <= MAX_SHIFT for layer in shifts for shift in layer.values()):
        return None
    units = table_units(grids[0], added_formats(formats[0]))
    return MergedModel(
        config=checkpoint.config,
        tokenizer=checkpoint.tokenizer,
        widths=widths,
        table={
            name: round_to(values * units[name], widths.of_entry(name))
            for name, values in merged.table.items()
        },
        layers=tuple(
            Layer(
                {
                    name: round_to(values * grid.matrices[name], widths.weights)
                    for name, values in matrix.items()
                },
                shift,
            )
            for matrix, grid, shift in zip(merged.layers, grids, shifts, strict=True)
        ),
        logit_unit=2.0 ** -formats[-1]["direct"] / float(grids[-1].direct[0]),
    )


def round_to(values, bits: int):
    """Round half up to integers of `bits` bits, with the same limit below zero as above."""
    limit = (1 << (bits - 1)) - 1
    return np.clip(np.floor(values + 0.5), -limit, limit).astype(np.int64)


def _first_guess(merged: Merged, grids, widths: Widths, rows) -> list[Formats]:
    """Return the finest formats of every layer with which nothing saturates on some rows."""
    peaks: list[dict[str, NDArray]] = [{} for _ in grids]
    predicted = rows[:, 1:] >= 0

    def note(layer, site, value):
        peaks[layer][site] = np.maximum(np.abs(value[predicted]).max(axis=0), SMALLEST)

    MergedFloat(merged).logits(np.maximum(rows[:, :-1], 0), note)
    width = np.sqrt(merged.config.width)
    found: list[Formats] = []
    for index, (grid, peak) in enumerate(zip(grids, peaks, strict=True)):

        def finest(site, bits, unit, peak=peak):
            return int(np.floor(np.log2(((1 << bits) - 1) / np.max(peak[site] * unit))))

        # Nothing is finer than the sum that it comes from or the term added to it.
        mix = most_x = finest("mix", widths.activations - 1, grid.values)
        if index:
            before, last = grids[index - 1], found[-1]
            last["product"] = min(
                last["product"], finest("stream", widths.stream - 1, before.product)
            )
            unit = 1 / before.product[-1] / width
            scale = max(finest("scale", widths.root, unit), MANTISSA_BITS - last["product"])
            unit = 1 / before.residual / width
            inverse = finest("inverse", widths.root, unit)
            inverse = max(inverse, MANTISSA_BITS - last["residual"])
            formats = {
                "k": min(last["product"] + scale, finest("k", widths.keys - 1, grid.keys)),
                "v": min(last["product"] + scale, finest("v", widths.values - 1, grid.values)),
                "scale": scale,
                "inverse": inverse,
            }
            most_x = stream_exponent(before, grid) + last["product"] + inverse
        else:
            formats = table_formats(merged, grid, widths)
        residual = min(mix, most_x, finest("residual", widths.residual - 1, grid.residual))
        most = {entry: residual + exponent for entry, exponent in grid.exponents.items()}
        hidden = min(mix, most.get("fx", mix), finest("hidden", widths.activations, grid.hidden))
        root = finest("root", widths.root, grid.residual * width)
        root = min(residual + MANTISSA_BITS - 1, root)
        direct = min(mix, most.get("lx", mix), finest("direct", widths.direct - 1, grid.direct))
        product = min(
            hidden,
            finest("product", widths.product - 1, grid.product),
            direct + root - grid.norm_exponent,
        )
        found.append(
            formats
            | {"mix": mix, "hidden": hidden, "residual": residual}
            | {"root": root, "direct": direct, "product": product}
        )
    return found


def _search(build, formats: list[Formats], expected: Expected) -> MergedModel:
    """Make formats finer or coarser as long as the model comes closer to the expectation."""
    measured = {}

    def distance(candidate: list[Formats]) -> float:
        key = tuple(tuple(layer.items()) for layer in candidate)
        if key not in measured:
            model = build(candidate)
            measured[key] = np.inf if model is None else expected.cross_entropy(GoldenModel(model))
        return measured[key]

    def moved(index: int, site: str, step: int) -> list[Formats]:
        changed = formats[index] | {site: formats[index][site] + step}
        return [*formats[:index], changed, *formats[index + 1 :]]

    sites = [(index, site) for index, layer in enumerate(formats) for site in layer]
    # It would become as fine as it can, whatever its width.
    sites.remove((len(formats) - 1, "product"))
    improved = True
    while improved:
        improved = False
        for index, site in sites:
            for step in (1, -1):
                while distance(candidate := moved(index, site, step)) < distance(formats):
                    formats, improved = candidate, True
    return build(formats)
