"""Float checkpoint to plain integer model.

Weights become 8-bit integers, each tensor or channel with a scale of its own. Most of those scales
cost nothing, because the network does not change when a factor moves from one matrix to the next:
from query to key, from value to output projection, through ReLU from the first MLP matrix to the
second, from the embeddings into the norm that follows, from the logits into the temperature.
(M. Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", 2019.)
What remains, the shift of every site, is chosen by the loss on the checkpoint's calibration rows.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gptloom.model.arithmetic import (
    LOGIT_FRACTION,
    MANTISSA_BITS,
    PRE_SHIFT,
    SCORE_FRACTION,
    SCORE_SHIFT,
    WEIGHT_BITS,
)
from gptloom.model.checkpoint import Checkpoint
from gptloom.model.golden import GoldenModel
from gptloom.model.integer import IntegerModel, Layer
from gptloom.model.rounding import round_for_inputs

WEIGHT_LIMIT = (1 << (WEIGHT_BITS - 1)) - 1
EMBEDDING_SHIFT = 8
"""Left shift of the raw embedding where it takes an accumulator's place (site ``start``)."""

_SCALE_SHIFT = MANTISSA_BITS - PRE_SHIFT
"""``requantise`` multiplies by ``2**(_SCALE_SHIFT - shift)`` times what the mantissa stands for."""

Array = NDArray[np.float64]


def quantise(checkpoint: Checkpoint) -> IntegerModel:
    """Quantise a float checkpoint; deterministic, a second or two.

    Parameters
    ----------
    checkpoint
        Its calibration rows choose the shifts, nothing else of the corpus is needed.
    """
    model, grids = _scale_weights(checkpoint)
    rows = checkpoint.calibration
    model = _choose_shifts(model, rows)
    return _choose_shifts(_round_for_calibration(model, grids, rows), rows)


def _choose_shifts(model: IntegerModel, rows: NDArray[np.integer]) -> IntegerModel:
    """Move factors of two between sites as long as the calibration loss falls."""
    best = integer_loss(model, rows)
    improved = True
    while improved:
        improved = False
        for move in _moves(model):
            while (candidate := move(model)) is not None:
                loss = integer_loss(candidate, rows)
                if loss >= best:
                    break
                model, best, improved = candidate, loss, True
    return model


def integer_loss(model: IntegerModel, rows: NDArray[np.integer]) -> float:
    """Mean cross-entropy of the integer model in nats per predicted token.

    The logits are the sampler's own, at temperature 1; only the logarithm is real-valued.

    Parameters
    ----------
    model
        The network.
    rows
        [documents, context + 1] token rows padded with -1.
    """
    golden = GoldenModel(model)
    scale = model.logit_scale(1.0)
    total, count = 0.0, 0
    for part in np.array_split(rows.astype(np.int64), max(1, len(rows) // 512)):
        targets = part[:, 1:]
        predicted = targets >= 0
        accumulators = golden.logits(np.maximum(part[:, :-1], 0))
        logits = golden.scaled_logits(accumulators, scale) / (1 << LOGIT_FRACTION)
        logits -= logits.max(axis=-1, keepdims=True)
        chosen = np.take_along_axis(logits, np.maximum(targets, 0)[..., None], -1)[..., 0]
        surprise = np.log(np.exp(logits).sum(axis=-1)) - chosen
        total += float(surprise[predicted].sum())
        count += int(predicted.sum())
    return total / count


@dataclass(frozen=True)
class _Grid:
    """A weight matrix in units of its integer grid, before rounding."""

    layer: int
    name: str
    values: Array


def _scale_weights(checkpoint: Checkpoint) -> tuple[IntegerModel, list[_Grid]]:
    """Scale every tensor to its integer grid and fit the shifts to the scales.

    Returns
    -------
    tuple
        The model with weights rounded to nearest, and its matrices before rounding.
    """
    config, weights = checkpoint.config, checkpoint.weights
    root = np.sqrt(config.width)
    start_shift = EMBEDDING_SHIFT - 1 - round(np.log2(config.width) / 2)
    stream = 2.0 ** (_SCALE_SHIFT + EMBEDDING_SHIFT - start_shift) / root
    octaves = np.log2(np.e) / np.sqrt(config.head_width) * 2.0 ** (SCORE_FRACTION + SCORE_SHIFT)
    embedding = WEIGHT_LIMIT / max(np.abs(weights[name]).max() for name in ("wte", "wpe"))
    head = WEIGHT_LIMIT / np.abs(weights["lm_head"]).max()
    grids = [_Grid(0, "lm_head", weights["lm_head"] * head)]
    layers = []
    for index in range(config.layers):
        w = {
            name: weights[f"layer{index}.{name}"].astype(np.float64)
            for name in ("attn_wq", "attn_wk", "attn_wv", "attn_wo", "mlp_fc1", "mlp_fc2")
        }
        wq, wk, qk = _share(w["attn_wq"], w["attn_wk"], octaves * config.width)
        wv, wo, vo = _share(w["attn_wv"], w["attn_wo"].T, stream * root)
        fc1, fc2, mlp = _share(w["mlp_fc1"], w["mlp_fc2"].T, stream * root)
        scaled = dict(wq=wq, wk=wk, wv=wv, wo=wo.T, fc1=fc1, fc2=fc2.T)
        # The product of the scales along a path is fixed, so its shifts add up to a fixed sum; the
        # search divides it better.
        shifts = _divide(("q", "k"), qk + 2 * _SCALE_SHIFT)
        shifts |= _divide(("hidden", "mlp"), mlp + 2 * _SCALE_SHIFT - 1)
        shifts |= _divide(("v", "mix", "out"), vo + 3 * _SCALE_SHIFT - 1)
        grids += [_Grid(index, name, values) for name, values in scaled.items()]
        layers.append(Layer({name: _integers(v) for name, v in scaled.items()}, shifts))
    model = IntegerModel(
        config=config,
        tokenizer=checkpoint.tokenizer,
        token_embedding=_integers(weights["wte"] * embedding),
        position_embedding=_integers(weights["wpe"] * embedding),
        lm_head=_integers(grids[0].values),
        layers=tuple(layers),
        start_shift=start_shift,
        logit_unit=1 / (stream * head),
    )
    return model, grids


def _share(first: Array, second: Array, unit: float) -> tuple[Array, Array, int]:
    """Scale the rows of two matrices so that a pair of rows has equal peaks.

    Every pair's scales multiply to ``unit * 2**exponent``, the largest for which both fit.

    Returns
    -------
    tuple
        Both scaled matrices, and the exponent.
    """
    peaks = [np.maximum(np.abs(m).max(axis=1), 1e-9) for m in (first, second)]
    exponent = int(np.floor(np.log2(WEIGHT_LIMIT**2 / (unit * (peaks[0] * peaks[1]).max()))))
    product = unit * 2.0**exponent
    scale = np.sqrt(product * peaks[1] / peaks[0])
    return first * scale[:, None], second * (product / scale)[:, None], exponent


def _integers(values: Array) -> NDArray[np.int64]:
    return np.clip(np.floor(values + 0.5), -WEIGHT_LIMIT, WEIGHT_LIMIT).astype(np.int64)


def _round_for_calibration(
    model: IntegerModel, grids: list[_Grid], rows: NDArray[np.integer]
) -> IntegerModel:
    """Round every matrix again, for the inputs that the integer model gives it."""
    inputs = _matrix_inputs(model, rows)
    for grid in grids:
        source = inputs[grid.layer, _INPUT_OF[grid.name]]
        if grid.name == "lm_head":
            source = inputs[model.config.layers - 1, "mlp"]
        rounded = round_for_inputs(grid.values, source, WEIGHT_LIMIT)
        if grid.name == "lm_head":
            model = replace(model, lm_head=rounded)
        else:
            layers = list(model.layers)
            old = layers[grid.layer]
            layers[grid.layer] = replace(old, weights={**old.weights, grid.name: rounded})
            model = replace(model, layers=tuple(layers))
    return model


_INPUT_OF = dict(
    wq="source", wk="source", wv="source", wo="mix", fc1="out", fc2="hidden", lm_head="mlp"
)
"""Site whose values each matrix multiplies."""


def _matrix_inputs(model: IntegerModel, rows: NDArray[np.integer]) -> dict[tuple[int, str], Array]:
    """Values of every site that feeds a matrix, [tokens, elements], by layer and site."""
    rows = rows.astype(np.int64)
    predicted = rows[:, 1:] >= 0
    seen: dict[tuple[int, str], Array] = {}

    def keep(layer: int, site: str, value: NDArray[np.int64]) -> None:
        if site in ("start", "mix", "out", "hidden", "mlp"):
            seen[layer, site] = value[predicted].astype(np.float64)

    GoldenModel(model).logits(np.maximum(rows[:, :-1], 0), keep)
    for layer in range(model.config.layers):
        # Layer 0 multiplies the raw embedding and scales later: `start` is what that amounts to.
        stream = seen[layer - 1, "mlp"] if layer else seen[0, "start"]
        seen[layer, "source"] = stream / np.sqrt(np.mean(stream**2, axis=1, keepdims=True) + 1e-9)
    return seen


def _divide(sites: tuple[str, ...], total: int) -> dict[str, int]:
    return {site: (total + i) // len(sites) for i, site in enumerate(sites)}


_PATHS = (("q", "k"), ("v", "mix"), ("v", "out"), ("mix", "out"), ("hidden", "mlp"))
"""Pairs of sites between which a factor of two may move."""


def _moves(model: IntegerModel) -> Iterator[Callable[[IntegerModel], IntegerModel | None]]:
    """Every step of the search: a factor of two from one site to another of its path."""
    for index in range(model.config.layers):
        for a, b in _PATHS:
            for first, second in ((a, b), (b, a)):
                yield lambda m, i=index, f=first, s=second: _shifted(m, i, {f: 1, s: -1})
    for direction in (1, -1):
        yield lambda m, d=direction: _rescaled_stream(m, d)


def _shifted(model: IntegerModel, index: int, change: dict[str, int]) -> IntegerModel | None:
    layer = model.layers[index]
    shifts = {site: shift + change.get(site, 0) for site, shift in layer.shifts.items()}
    if not all(1 <= shift <= 20 for shift in shifts.values()):
        return None
    layers = list(model.layers)
    layers[index] = replace(layer, shifts=shifts)
    return replace(model, layers=tuple(layers))


def _rescaled_stream(model: IntegerModel, direction: int) -> IntegerModel | None:
    """Halve (direction 1) or double the scale of the residual stream."""
    moved: IntegerModel | None = replace(
        model,
        start_shift=model.start_shift + direction,
        logit_unit=model.logit_unit * 2.0**direction,
    )
    for index in range(model.config.layers):
        if moved is not None:
            moved = _shifted(
                moved, index, {"out": direction, "hidden": -direction, "mlp": 2 * direction}
            )
    return moved
