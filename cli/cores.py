"""Options that say which core, and how it is made; of the commands that take more than one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from gptloom.model.cache import Eviction
from gptloom.model.errors import UserError

if TYPE_CHECKING:
    from gptloom.model.integer import IntegerModel
    from gptloom.model.merged.integer import MergedModel


class Core(StrEnum):
    """The cores."""

    FOLDED = "folded"
    UNROLLED = "unrolled"


BitsPerCycle = Annotated[
    int | None, typer.Option(help="Unrolled: bits that enter products in a cycle, 1, 2, 4 or 8.")
]
Positions = Annotated[int | None, typer.Option(help="Unrolled: cached positions seen in a cycle.")]
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
        help="Folded: what makes room in a full KV cache, so that documents have no end: window "
        "(the oldest row), attention (the least attended), or recurrent (no rows but sums over all "
        "tokens; of one layer). Takes a checkpoint with ALiBi.",
        show_default="none",
    ),
]
Rows = Annotated[
    int | None,
    typer.Option(help="Folded: of the KV cache.", show_default="the checkpoint's context"),
]
Sinks = Annotated[
    int | None, typer.Option(help="Folded: first rows that a window keeps.", show_default="0")
]


Slots = Annotated[
    int,
    typer.Option(
        help="Folded: caches that keep prefixes, so that documents begin where they differ from "
        "earlier ones; 1, 2 or 4.",
        show_default="none",
    ),
]


def cache_options(
    core: Core, cache: Eviction | None, rows: int | None, sinks: int | None
) -> dict[str, object]:
    """Return what was given of the folded core's cache, by :meth:`.IntegerModel.with_cache`.

    Raises
    ------
    UserError
        If something was, but another core is asked for.
    """
    options = {"eviction": cache, "rows": rows, "sinks": sinks}
    flags = {"--cache": cache, "--rows": rows, "--sinks": sinks}
    refuse_options(core, {Core.FOLDED: flags})
    if cache is Eviction.RECURRENT and rows is not None:
        raise UserError("--cache recurrent keeps sums and has no rows: leave --rows out")
    return {name: value for name, value in options.items() if value is not None}


def load_plain(checkpoint: str, cache: Mapping[str, object]) -> IntegerModel:
    """Quantise a checkpoint for the folded core.

    Parameters
    ----------
    checkpoint
        A shipped one's name, or a file.
    cache
        See :func:`cache_options`.

    Raises
    ------
    UserError
        If there is no such checkpoint, or it cannot have this cache.
    """
    from gptloom.model.checkpoint import load_checkpoint
    from gptloom.model.float_model import FloatModel
    from gptloom.model.loss import golden_loss, measurement_rows
    from gptloom.model.quantise import quantise
    from gptloom.model.recurrent import golden_of

    loaded = load_checkpoint(checkpoint)
    model = quantise(loaded)
    if cache:
        usual = {"rows": model.config.context, "eviction": Eviction.NONE}
        model = model.with_cache(**(usual | cache))
        losses = {}
        if not model.config.endless:
            # Documents end with the rows, and so do those that are measured.
            loaded = replace(loaded, config=replace(loaded.config, context=model.config.context))
        rows, _ = measurement_rows(loaded)
        if not model.config.endless:
            losses["float_loss"] = FloatModel(loaded.config, loaded.weights).loss(rows)
        losses["integer_loss"] = golden_loss(golden_of(model), rows)
        model = replace(model, metadata=model.metadata | losses)
    return model


KeyBits = Annotated[
    int | None, typer.Option(min=4, max=8, help="Unrolled: bits of a cached key's elements.")
]
ValueBits = Annotated[
    int | None, typer.Option(min=4, max=8, help="Unrolled: bits of a cached value's elements.")
]


def load_merged(checkpoint: str, key_bits: int | None, value_bits: int | None) -> MergedModel:
    """Quantise a checkpoint for the unrolled core.

    Parameters
    ----------
    checkpoint
        A shipped one's name, or a file.
    key_bits, value_bits
        Of what is cached, if not what it was refined for.

    Raises
    ------
    UserError
        If there is no such checkpoint, or none of these widths.
    """
    from gptloom.model.checkpoint import load_checkpoint
    from gptloom.model.merged.quantise import quantise, refined_widths

    loaded = load_checkpoint(checkpoint)
    widths = refined_widths(loaded)
    given = {"keys": key_bits, "values": value_bits}
    return quantise(loaded, replace(widths, **{k: v for k, v in given.items() if v is not None}))


def refuse_options(core: Core, options: Mapping[Core, Mapping[str, object]]) -> None:
    """Refuse options that are another core's.

    Raises
    ------
    UserError
        Naming them.
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
    positions: int | None,
    heads_per_cycle: int | None,
    streams: int | None,
) -> dict[str, int]:
    """Return what was given of the unrolled core's shape, by the names of :class:`.Shape`.

    Raises
    ------
    UserError
        If something was, but another core is asked for.
    """
    options = {
        "bits_per_cycle": bits_per_cycle,
        "positions": positions,
        "heads_per_cycle": heads_per_cycle,
        "streams": streams,
    }
    flags = {f"--{name.replace('_', '-')}": value for name, value in options.items()}
    refuse_options(core, {Core.UNROLLED: flags})
    return {name: value for name, value in options.items() if value is not None}
