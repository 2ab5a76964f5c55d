"""Options that say which core, and how it is made; of the commands that take more than one."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

import typer

from gptloom.model.errors import UserError


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
