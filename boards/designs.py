"""Designs that can be built for a board: a core in its top, and its figures in a report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptloom.boards import checks, unrolled
from gptloom.boards.board import Board
from gptloom.boards.build import Build
from gptloom.boards.contents import placeholder
from gptloom.boards.design import Sources, connect, elaborate, multipliers
from gptloom.boards.measure import measure_folded, measure_text, measure_unrolled
from gptloom.boards.report import Timing
from gptloom.firmware.image import build_image
from gptloom.firmware.machine import LANES, Machine
from gptloom.firmware.page import writes_text
from gptloom.hdl.multipliers import FabricMultiplier
from gptloom.hdl.top import BAUD
from gptloom.hdl.unrolled.shape import Shape
from gptloom.model.config import ModelConfig
from gptloom.model.errors import UserError
from gptloom.model.formats import STANDARD, USUAL_PROFILE, profile_of
from gptloom.model.integer import IntegerModel
from gptloom.model.merged.integer import MergedModel
from gptloom.model.positions import Positions
from gptloom.model.tokenizers.characters import characters_of

TEXT_BAUD = 1_000_000
"""Usual baud rate of a chip that writes text: the core waits for the line, and writes some 40,000
characters a second."""


@dataclass(frozen=True)
class Settings:
    """Settings of a board's design that do not depend on its core.

    Attributes
    ----------
    mhz
        Clock frequency, if not the board's own.
    baud
        Baud rate of the serial line; None for the usual one, which is higher for text.
    framed
        Whether the serial line takes commands; None for the board's default.
    instruments
        Whether the chip reports what tokens attend to.
    display
        Name of the display; None for the board's own.
    """

    mhz: float | None = None
    baud: int | None = None
    framed: bool | None = None
    instruments: bool = False
    display: str | None = None


@dataclass(frozen=True)
class Design:
    """A core for a board.

    Attributes
    ----------
    characters
        Characters that its model's tokens stand for, if they are shown one by one.
    name
        Name of the folder that it is built in, without the board's name.
    options
        Options of the command that builds it.
    smaller
        Options of a core that may be faster; empty if there is none.
    figures
        Figures for the report: the core, its dimensions, loss and checksum.
    required
        Requirements on its netlist.
    sources
        Elaborates it.
    measure
        Counts cycles in simulation; returns these, and tokens/s at a clock in Hz.
    pack
        Makes the bitstream of a placed design.
    frees_carries
        See :class:`.Build`.
    """

    characters: str
    name: str
    options: str
    smaller: str
    figures: Mapping[str, Any]
    required: checks.Required
    sources: Callable[[Settings], Sources]
    measure: Callable[[float], dict[str, Any]]
    pack: Callable[[Build, Timing], Path]
    frees_carries: bool = False


def folded_design(
    board: Board, checkpoint: str, model: IntegerModel, lanes: int, slots: int = 0
) -> Design:
    """Return the folded core of a checkpoint's model."""
    machine = Machine.for_model(lanes, model, slots=slots)
    image = build_image(model, machine)
    kinds = multipliers(board, machine)
    cache, kind = _cache_of(model.config)
    text = writes_text(model)
    profile = profile_of(model.precision)
    if profile not in (None, USUAL_PROFILE):
        cache += f" --profile {profile}"
        kind += f"-{profile}"
    if slots:
        cache += f" --slots {slots}"
        kind += f"-slots{slots}"

    def sources(settings: Settings) -> Sources:
        return elaborate(
            board,
            image,
            machine,
            placeholder(image, machine),
            mhz=settings.mhz,
            baud=settings.baud or (TEXT_BAUD if text else BAUD),
            framed=settings.framed,
            instruments=settings.instruments,
            display=settings.display,
        )

    def measure(hz: float) -> dict[str, Any]:
        cycles = measure_text(model, machine) if text else measure_folded(model, machine)
        return {"cycles_per_token": round(cycles, 2), "tokens_per_second": round(hz / cycles)}

    return Design(
        characters="" if text else characters_of(model.tokenizer),
        name=f"folded-{lanes}{kind}",
        options=f" --lanes {lanes}{cache}"
        + (f" --checkpoint {checkpoint}" if checkpoint != "names" else ""),
        smaller=f"--lanes {lanes // 2}" if lanes > min(LANES) else "",
        figures={
            "core": "folded",
            "lanes": lanes,
            "bits": model.precision.weights,
            "integer_loss": model.metadata["integer_loss"],
            "loss_set": model.metadata["loss_set"],
            **(text_figures(checkpoint, model) if text else {}),
            "weights_crc": f"{image.checksum(machine):08X}",
        },
        required=checks.folded(sum(kind is not FabricMultiplier for kind in kinds), text),
        sources=sources,
        measure=measure,
        pack=lambda task, timing: task.pack_image(timing, image, machine),
    )


def text_figures(checkpoint: str, model: IntegerModel) -> dict[str, Any]:
    """Return the figures of a chip that writes text."""
    return {
        "checkpoint": Path(checkpoint).stem,
        "profile": profile_of(model.precision),
        "rows": model.config.context,
        "kl": model.metadata["kl"],
    }


def _cache_of(config: ModelConfig) -> tuple[str, str]:
    """Return the options that select a model's cache, and the cache's part of a folder's name."""
    if config.recurrent:
        return f" --cache {config.eviction}", f"-{config.eviction}"
    options, kind = "", ""
    if config.positions is not Positions.LEARNED:
        options = f" --rows {config.context}"
        kind = f"-rows{config.context}"
    if config.endless:
        options += f" --cache {config.eviction} --sinks {config.sinks}"
        kind += f"-{config.eviction}{config.sinks}"
    return options, kind


def unrolled_design(board: Board, checkpoint: str, model: MergedModel, shape: Shape) -> Design:
    """Return the unrolled core of a checkpoint's model.

    Raises
    ------
    UserError
        If there is no core of this shape, or for this model.
    """
    core, seen = unrolled.make_core(board, model, shape), shape.positions_per_cycle
    dimensions = {
        "bits_per_cycle": shape.bits_per_cycle,
        "positions_per_cycle": seen,
        "heads_per_cycle": shape.heads_per_cycle or model.config.heads,
        "streams": core.streams,
    }
    options = "".join(f" --{name.replace('_', '-')} {n}" for name, n in dimensions.items())
    widths = model.widths
    cached = {"key_bits": widths.keys, "value_bits": widths.values}
    for (name, bits), usual in zip(cached.items(), STANDARD.cache.widths, strict=True):
        if bits != usual:
            options += f" --{name.replace('_', '-')} {bits}"
    cache, kind = _cache_of(model.config)

    def sources(settings: Settings) -> Sources:
        if settings.framed:
            raise UserError(
                "the unrolled core's weights are logic, so there is nothing to load and the serial "
                "line takes no commands: leave --framed out"
            )
        if settings.instruments:
            raise UserError("the unrolled core does not tell what tokens attend: use --core folded")
        pll = board.pll(settings.mhz)
        top = unrolled.make_top(board, model, core, pll.hz, settings.baud or BAUD, settings.display)
        return connect(board, pll, top, settings.display)

    def measure(hz: float) -> dict[str, Any]:
        # The same core, with products as simulation computes them.
        one, together = measure_unrolled(model, shape.make(model))
        return {
            "cycles_per_token": round(one, 2),
            "tokens_per_second": round(hz / one),
            "aggregate_tokens_per_second": round(hz / together),
        }

    return Design(
        characters=characters_of(model.tokenizer),
        name=f"unrolled-w{widths.weights}k{widths.keys}v{widths.values}-"
        + "x".join(map(str, dimensions.values()))
        + kind,
        # Without these options a build takes the largest core that the part holds.
        options=f" --core unrolled{options}{cache} --checkpoint {checkpoint}"
        f" --bits {widths.weights}",
        smaller=f"--positions-per-cycle {seen // 2}" if seen > 1 else "",
        figures={
            "core": "unrolled",
            "bits": widths.weights,
            **dimensions,
            **cached,
            "integer_loss": model.metadata["integer_loss"],
            "loss_set": model.metadata["loss_set"],
            "weights_crc": f"{model.checksum():08X}",
        },
        required=unrolled.required(core),
        sources=sources,
        measure=measure,
        pack=lambda task, timing: task.pack(timing),
        frees_carries=True,
    )
