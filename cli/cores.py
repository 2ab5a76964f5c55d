"""Options that choose a core and its dimensions, for commands that take more than one core."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from gptloom.model.cache import Eviction
from gptloom.model.errors import UserError
from gptloom.model.family import Family
from gptloom.model.formats import PROFILES, Precision

if TYPE_CHECKING:
    from gptloom.firmware.machine import Machine
    from gptloom.model.checkpoint import Checkpoint
    from gptloom.model.config import ModelConfig
    from gptloom.model.integer import IntegerModel
    from gptloom.model.loss import Predictor
    from gptloom.model.merged.integer import MergedModel

Model = TypeVar("Model", "IntegerModel", "MergedModel")


class Core(StrEnum):
    """The cores."""

    FOLDED = "folded"
    UNROLLED = "unrolled"


BitsPerCycle = Annotated[
    int | None, typer.Option(help="Unrolled: bits that enter products in a cycle, 1, 2, 4 or 8.")
]
PositionsPerCycle = Annotated[
    int | None, typer.Option(help="Unrolled: cached positions seen in a cycle.")
]
HeadsPerCycle = Annotated[
    int | None, typer.Option(help="Unrolled: heads whose mix is computed in a cycle.")
]
Streams = Annotated[
    int | None,
    typer.Option(
        min=1, help="Unrolled: documents at the same time, if not as many as the pipeline holds."
    ),
]
CachePolicy = Annotated[
    Eviction | None,
    typer.Option(
        "--cache",
        help="Eviction from a full KV cache, so that documents have no end: window (the "
        "oldest row) or, folded, attention (the least attended), or recurrent (no rows but sums "
        "over all tokens; of one layer). Takes a checkpoint with ALiBi.",
        show_default="none",
    ),
]
Rows = Annotated[
    int | None,
    typer.Option(help="Rows of the KV cache.", show_default="the checkpoint's context"),
]
Sinks = Annotated[
    int | None, typer.Option(help="First rows that a window keeps.", show_default="0")
]


Slots = Annotated[
    int,
    typer.Option(
        help="Folded: caches that keep prefixes, so that documents begin where they differ from "
        "earlier ones; 1, 2 or 4.",
        show_default="none",
    ),
]


def cache_options(cache: Eviction | None, rows: int | None, sinks: int | None) -> dict[str, object]:
    """Return the given options of the cache, by the names of :meth:`.ModelConfig.with_cache`."""
    options = {"eviction": cache, "rows": rows, "sinks": sinks}
    if cache is Eviction.RECURRENT and rows is not None:
        raise UserError("--cache recurrent keeps sums and has no rows: leave --rows out")
    return {name: value for name, value in options.items() if value is not None}


Profile = Annotated[
    str | None,
    typer.Option(
        help="Widths of a model of the Llama family: J1 (9 bits) or J2 (8 bits).",
        show_default="J1",
    ),
]

USUAL_LANES = {Family.MICROGPT: 16, Family.LLAMA: 64}
"""Lanes of a folded core, where nobody has chosen them."""

Lanes = Annotated[
    int | None,
    typer.Option(
        help="Multipliers of the folded core: 8, 16, 32, 64 or 128.",
        show_default="16; Llama family: 64",
    ),
]


def precision_of(family: Family, profile: str | None) -> Precision | None:
    """Return the precision of a profile's name; None without one, for the usual precision.

    Raises
    ------
    UserError
        If there is no such profile, or the family has none.
    """
    if profile is None:
        return None
    if family is not Family.LLAMA:
        raise UserError("--profile is for models of the Llama family: leave it out")
    if profile not in PROFILES:
        raise UserError(f"There is no profile {profile}: give {' or '.join(PROFILES)}.")
    return PROFILES[profile]


def load_plain(
    checkpoint: str, cache: Mapping[str, object], profile: str | None = None
) -> IntegerModel:
    """Quantise a checkpoint for the folded core, unless that is done already.

    Parameters
    ----------
    checkpoint
        Name of a shipped checkpoint, or a file.
    cache
        See :func:`cache_options`.
    profile
        See :func:`precision_of`.

    Raises
    ------
    UserError
        If there is no such checkpoint, it cannot have this cache or profile, or no folded core
        computes its shape.
    """
    from gptloom.cli.quantised import quantised
    from gptloom.firmware.fit import check_shape
    from gptloom.model.checkpoint import load_checkpoint

    loaded = load_checkpoint(checkpoint)
    # Quantising a large shape takes longer than refusing it.
    check_shape(replace(loaded.config, context=cache.get("rows", loaded.config.context)))
    return quantised(loaded, profile, cache)


def machine_of(model: IntegerModel, lanes: int | None, slots: int = 0) -> Machine:
    """Return the smallest machine for a model, with the usual lanes if none are given."""
    from gptloom.firmware.machine import Machine

    return Machine.for_model(lanes_of(model, lanes), model, slots=slots)


def lanes_of(model: IntegerModel, lanes: int | None) -> int:
    """Return the lanes that were asked for, or the family's usual ones."""
    return USUAL_LANES[model.config.family] if lanes is None else lanes


def whole_cache(config: ModelConfig, cache: Mapping) -> dict:
    """Return everything that a model's cache is described by, from what was asked for."""
    return {"rows": config.context, "eviction": Eviction.NONE, **cache}


def with_cache(
    loaded: Checkpoint, model: Model, golden: Callable[[Model], Predictor], cache: Mapping
) -> Model:
    """Give a checkpoint's model another cache, and measure it with that."""
    from gptloom.model.float_model import FloatModel
    from gptloom.model.loss import closeness, golden_loss, measurement_rows

    if not cache:
        return model
    model = model.with_cache(**whole_cache(model.config, cache))
    if model.config.endless:
        rows, _ = measurement_rows(loaded)
        losses = {"integer_loss": golden_loss(golden(model), rows)}
    else:
        # Documents end with the rows, including those that are measured.
        loaded = replace(loaded, config=replace(loaded.config, context=model.config.context))
        rows, _ = measurement_rows(loaded)
        exact = FloatModel(loaded.config, loaded.weights)
        losses = asdict(closeness(exact, golden(model), rows))
    return replace(model, metadata=model.metadata | losses)


Bits = Annotated[
    int | None,
    typer.Option(
        help="Unrolled: bits of a weight, 2 to 10.", show_default="what it was refined for, or 8"
    ),
]
KeyBits = Annotated[
    int | None, typer.Option(min=4, max=8, help="Unrolled: bits of a cached key's elements.")
]
ValueBits = Annotated[
    int | None, typer.Option(min=4, max=8, help="Unrolled: bits of a cached value's elements.")
]


def load_merged(
    checkpoint: str,
    bits: int | None,
    key_bits: int | None,
    value_bits: int | None,
    cache: Mapping[str, object],
) -> MergedModel:
    """Quantise a checkpoint for the unrolled core.

    Parameters
    ----------
    checkpoint
        Name of a shipped checkpoint, or a file.
    bits, key_bits, value_bits
        Bits of a weight and of cached elements; by default those it was refined for.
    cache
        See :func:`cache_options`.

    Raises
    ------
    UserError
        If there is no such checkpoint, a width is not possible, or it cannot have this cache.
    """
    from gptloom.model.checkpoint import load_checkpoint
    from gptloom.model.merged.golden import GoldenModel
    from gptloom.model.merged.quantise import quantise, refined_widths

    loaded = load_checkpoint(checkpoint)
    widths = refined_widths(loaded)
    given = {"weights": bits, "keys": key_bits, "values": value_bits}
    widths = replace(widths, **{k: v for k, v in given.items() if v is not None})
    return with_cache(loaded, quantise(loaded, widths), GoldenModel, cache)


def refuse_options(core: Core, options: Mapping[Core, Mapping[str, object]]) -> None:
    """Refuse options that belong to another core.

    Raises
    ------
    UserError
        Naming the options.
    """
    for other, values in options.items():
        given = [name for name, value in values.items() if value is not None]
        if other is not core and given:
            raise UserError(
                f"{' and '.join(given)} belong to --core {other.value}: leave them out, or choose "
                "that core"
            )


def shape_options(
    core: Core,
    bits_per_cycle: int | None,
    positions_per_cycle: int | None,
    heads_per_cycle: int | None,
    streams: int | None,
) -> dict[str, int]:
    """Return the given options of the unrolled core's shape, by the names of :class:`.Shape`.

    Raises
    ------
    UserError
        If there are any, but another core is asked for.
    """
    options = {
        "bits_per_cycle": bits_per_cycle,
        "positions_per_cycle": positions_per_cycle,
        "heads_per_cycle": heads_per_cycle,
        "streams": streams,
    }
    flags = {f"--{name.replace('_', '-')}": value for name, value in options.items()}
    refuse_options(core, {Core.UNROLLED: flags})
    return {name: value for name, value in options.items() if value is not None}
