"""Cores and boards that take a model's shape, found before there are weights.

A model of zeros stands in for the one to come, so each answer comes from the same code that will
later make the image or the bitstream.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from amaranth.hdl import UnusedElaboratable

from gptloom.boards.calibration import load_calibration
from gptloom.boards.estimate import Estimator, lacking
from gptloom.boards.routed import check_characters
from gptloom.boards.table import BOARDS
from gptloom.firmware.image import build_image
from gptloom.firmware.machine import LANES, Machine
from gptloom.hdl.unrolled.shape import Shape
from gptloom.model.config import ModelConfig
from gptloom.model.errors import UserError
from gptloom.model.integer import IntegerModel
from gptloom.model.merged import integer as merged_integer
from gptloom.model.merged.algebra import merge
from gptloom.model.merged.integer import LATER_SHIFTS, SHIFTS, MergedModel, Widths
from gptloom.model.network import network
from gptloom.model.tokenizer import Tokenizer
from gptloom.model.tokenizers.characters import characters_of

UNROLLED = "unrolled"
SMALLEST = Shape(bits_per_cycle=1, positions_per_cycle=1, heads_per_cycle=1)

SHIFT = 8
LOGIT_UNIT = 2.0**-SHIFT
"""Constants of the model of zeros; any values within the hardware's range would do."""


@dataclass(frozen=True)
class Takers:
    """Cores that take a shape.

    Attributes
    ----------
    lanes
        Folded cores, narrowest first.
    unrolled
        Whether an unrolled core takes it.
    refusals
        Reasons why the other cores do not take it: sentences by number of lanes, or `UNROLLED`.
    """

    lanes: tuple[int, ...]
    unrolled: bool
    refusals: Mapping[int | str, str]


def find_takers(config: ModelConfig, tokenizer: Tokenizer) -> Takers:
    """Return the cores that take a shape.

    Raises
    ------
    UserError
        If there is none, with the refusals of the widest folded core and of the unrolled one.
    """
    refusals: dict[int | str, str] = {}
    plain = plain_zeros(config, tokenizer)
    for lanes in LANES:
        try:
            build_image(plain, Machine.for_models(lanes, config))
        except UserError as error:
            refusals[lanes] = str(error)
    refusal = _unrolled_refusal(merged_zeros(config, tokenizer))
    if refusal:
        refusals[UNROLLED] = refusal
    lanes = tuple(width for width in LANES if width not in refusals)
    if not lanes and refusal:
        raise UserError(f"no core takes this shape: {refusals[LANES[-1]]}; {refusal}")
    return Takers(lanes, not refusal, refusals)


def find_boards(config: ModelConfig, tokenizer: Tokenizer, lanes: int) -> list[str]:
    """Return the boards that can be expected to hold a folded core with this many lanes.

    Raises
    ------
    UserError
        If no board can have the model's characters, or the boards extra is not installed.
    """
    check_characters(characters_of(tokenizer))
    estimator = Estimator(plain_zeros(config, tokenizer), load_calibration().sizes)
    machine = Machine.for_models(lanes, config)
    return [
        board.name
        for board in BOARDS.values()
        if not lacking(estimator.used(board, machine), board.capacity)
    ]


def plain_zeros(config: ModelConfig, tokenizer: Tokenizer) -> IntegerModel:
    """Return a plain model of zeros."""
    shifts = {site.key: SHIFT for site in network(config).computed if site.shifted}
    return IntegerModel(config, tokenizer, _zeros(config), shifts, LOGIT_UNIT)


def merged_zeros(config: ModelConfig, tokenizer: Tokenizer) -> MergedModel:
    """Return a merged model of zeros."""

    def integers(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: np.zeros(array.shape, np.int64) for name, array in arrays.items()}

    merged = merge(config, {name: zero.astype(float) for name, zero in _zeros(config).items()})
    return MergedModel(
        config=config,
        tokenizer=tokenizer,
        widths=Widths(),
        table=integers(merged.table),
        layers=tuple(
            merged_integer.Layer(
                integers(matrices), dict.fromkeys(LATER_SHIFTS if index else SHIFTS, SHIFT)
            )
            for index, matrices in enumerate(merged.layers)
        ),
        logit_unit=LOGIT_UNIT,
    )


def _zeros(config: ModelConfig) -> dict[str, np.ndarray]:
    return {name: np.zeros(shape, np.int64) for name, shape in config.weight_shapes().items()}


def _unrolled_refusal(model: MergedModel) -> str:
    """Return the sentence that refuses an unrolled core for a model; empty if there is one."""
    with warnings.catch_warnings():
        # It is not elaborated, which would take time: every refusal comes before that.
        warnings.simplefilter("ignore", UnusedElaboratable)
        refusal = ""
        try:
            SMALLEST.make(model)
        except UserError as error:
            refusal = str(error)
        gc.collect()
    return refusal
