"""Options that say which core, and how it is made; of the commands that take more than one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from gptloom.model.errors import UserError

if TYPE_CHECKING:
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
KeyBits = Annotated[
    int | None, typer.Option(help="Unrolled: bits of a cached key's elements, 4 to 8.")
]
ValueBits = Annotated[int | None, typer.Option(help="Unrolled: bits of a cached value's elements.")]


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
