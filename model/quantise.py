"""Float checkpoint to plain integer model.

Weights are rounded to the grids of :mod:`.scales`. What remains, the shift of every site, is
chosen on the checkpoint's calibration rows.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gptloom.model.checkpoint import Checkpoint
from gptloom.model.errors import UserError
from gptloom.model.float_model import FloatModel
from gptloom.model.golden import GoldenModel
from gptloom.model.integer import LAYER_WEIGHTS, IntegerModel, Layer
from gptloom.model.loss import Expected, golden_loss, measure
from gptloom.model.scales import UNIT_SHIFT, WEIGHT_LIMIT, Array, WeightScales, weight_scales

MAX_SHIFT = 16
"""Largest shift of a site: with its exponent (up to 15) it stays within `requantise`'s 31."""

CHECKPOINT_NAMES = dict(
    wq="attn_wq", wk="attn_wk", wv="attn_wv", wo="attn_wo", fc1="mlp_fc1", fc2="mlp_fc2"
)
"""What a checkpoint calls each of `LAYER_WEIGHTS`."""

_SEARCH_DOCUMENTS = 256
"""Calibration documents for the search: more were found to choose the same, more slowly."""


def quantise(checkpoint: Checkpoint) -> IntegerModel:
    """Quantise a float checkpoint; deterministic, about a second for one layer.

    Parameters
    ----------
    checkpoint
        Its calibration rows choose the shifts; the held-out documents are only measured.

    Returns
    -------
    IntegerModel
        Its metadata are what :func:`.loss.measure` says of it.

    Raises
    ------
    UserError
        Weights are so large that a site would have to shift left.
    """
    scales = weight_scales(checkpoint.config, checkpoint.weights)
    rounded = {
        name: np.clip(np.floor(values + 0.5), -WEIGHT_LIMIT, WEIGHT_LIMIT).astype(np.int64)
        for name, values in on_grid(checkpoint, scales).items()
    }
    exact = FloatModel(
        checkpoint.config, {name: value / scales.factors[name] for name, value in rounded.items()}
    )
    model = _first_guess(checkpoint, scales, rounded)
    model = _choose_shifts(model, Expected(exact, checkpoint.calibration[:_SEARCH_DOCUMENTS]))
    return replace(model, metadata=measure(checkpoint, GoldenModel(model)))


def on_grid(checkpoint: Checkpoint, scales: WeightScales) -> dict[str, Array]:
    """Return the weights by name in units of their grids, before rounding."""
    return {
        name: weight.astype(np.float64) * scales.factors[name]
        for name, weight in checkpoint.weights.items()
    }


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


def _first_guess(
    checkpoint: Checkpoint, scales: WeightScales, rounded: dict[str, NDArray[np.int64]]
) -> IntegerModel:
    """Join integer weights to a model, with shifts that fit their scales."""
    config, layers = checkpoint.config, []
    for index, exponents in enumerate(scales.exponents):
        # The scales along a path are fixed, so its shifts add up to a fixed sum. How the sum is
        # divided here is typical of trained networks, and where the search starts.
        shifts = _divide(exponents["score"] + 2 * UNIT_SHIFT, q=-1, k=1)
        shifts |= _divide(exponents["mlp"] + 2 * UNIT_SHIFT - 1, hidden=3, mlp=-3)
        shifts |= _divide(exponents["value"] + 3 * UNIT_SHIFT - 1, v=-2, mix=-3, out=5)
        if min(shifts.values()) < 1:
            raise UserError(
                f"The weights of layer {index} are too large for its activations' integers: "
                "train the checkpoint with quantisation-aware steps, or with a lower learning rate."
            )
        weights = {w: rounded[f"layer{index}.{CHECKPOINT_NAMES[w]}"] for w in LAYER_WEIGHTS}
        layers.append(Layer(weights, shifts))
    return IntegerModel(
        config=config,
        tokenizer=checkpoint.tokenizer,
        token_embedding=rounded["wte"],
        position_embedding=rounded.get("wpe", np.zeros((config.context, config.width), np.int64)),
        lm_head=rounded["lm_head"],
        layers=tuple(layers),
        start_shift=scales.start_shift,
        logit_unit=1 / (scales.stream * float(scales.factors["lm_head"])),
    )


def _divide(total: int, **offsets: int) -> dict[str, int]:
    """Share `total` out: equally, but for offsets that add up to 0 where there is room for them."""
    shares = [(total + i) // len(offsets) for i in range(len(offsets))]
    moved = [share + offset for share, offset in zip(shares, offsets.values(), strict=True)]
    return dict(zip(offsets, shares if min(moved) < 1 else moved, strict=True))


def _choose_shifts(model: IntegerModel, expected: Expected) -> IntegerModel:
    """Move factors of two between sites as long as the model comes closer to what is expected."""
    measured: dict[tuple, float] = {}

    def distance(candidate: IntegerModel) -> float:
        # Moves lead back to where others have been.
        key = (candidate.start_shift, *(tuple(c.shifts.items()) for c in candidate.layers))
        if key not in measured:
            measured[key] = expected.cross_entropy(GoldenModel(candidate))
        return measured[key]

    improved = True
    while improved:
        improved = False
        for move in _moves(model):
            while (candidate := move(model)) is not None:
                if distance(candidate) >= distance(model):
                    break
                model, improved = candidate, True
    return model


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
