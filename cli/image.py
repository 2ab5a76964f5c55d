"""`gptloom image`: the contents to load into the hardware, as a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gptloom.cli.cores import (
    CachePolicy,
    Lanes,
    Profile,
    Rows,
    Sinks,
    Slots,
    cache_options,
    load_plain,
    machine_of,
)
from gptloom.cli.output import check_outputs, console_for
from gptloom.model.errors import UserError


def image(
    checkpoint: Annotated[
        str, typer.Option(help="A shipped checkpoint's name or a file.")
    ] = "names",
    lanes: Lanes = None,
    profile: Profile = None,
    cache: CachePolicy = None,
    rows: Rows = None,
    sinks: Sinks = None,
    slots: Slots = 0,
    out: Annotated[Path | None, typer.Option(help="The image to write.")] = None,
    check: Annotated[Path | None, typer.Option(help="Check this image instead.")] = None,
) -> None:
    """Write a checkpoint's image for hardware with a given number of lanes, or check an image."""
    from gptloom.firmware.image import Image, build_image

    if (out is None) == (check is None):
        raise UserError("say either --out FILE to write an image or --check FILE to check one")
    policy = cache_options(cache, rows, sinks)
    if check and (policy or slots or lanes or profile):
        raise UserError(
            "an image that is there has its lanes, widths and cache: leave --lanes, --profile, "
            "--cache, --rows, --sinks and --slots out"
        )
    check_outputs(out)
    if check:
        made = Image.read(check)
    else:
        model = load_plain(checkpoint, policy, profile)
        made = build_image(model, machine_of(model, lanes, slots))
        made.write(out)
    shape = ", ".join(f"{name} {size}" for name, size in made.config.to_dict().items())
    contents = made.contents(made.machine)
    sizes = ", ".join(f"{region.name.lower()} {len(data):,}" for region, data in contents.items())
    console = console_for(out)
    console.print(f"{check or out}: an image for {made.lanes} lanes, CRC-32 {made.crc:08x}")
    console.print(f"model: {shape}", f"bytes: {sizes}", sep="\n", soft_wrap=True)
    weights = made.checksum(made.machine)
    console.print(f"a chip that holds it says: weights {weights:08X}")
