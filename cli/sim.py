"""``gptloom sim``: a whole chip under simulation, and the picture on its display."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from math import inf
from pathlib import Path
from typing import Annotated

import typer

from gptloom.cli.cores import Lanes
from gptloom.cli.output import check_outputs, console_for
from gptloom.model.errors import UserError


def sim(
    lcd: Annotated[
        str, typer.Option(help="The panel: hd44780, ssd1306, ssd1331 or st7789.")
    ] = "hd44780",
    frames: Annotated[int, typer.Option(help="Names to show, or pictures of text.")] = 16,
    text: Annotated[
        bool, typer.Option("--text", help="Print the lines as they change, instead of a panel.")
    ] = False,
    png: Annotated[Path | None, typer.Option(help="Save the last picture.")] = None,
    gif: Annotated[Path | None, typer.Option(help="Save all pictures as a film.")] = None,
    checkpoint: Annotated[
        str, typer.Option(help="A shipped checkpoint's name or a file.")
    ] = "names",
    lanes: Lanes = None,
    clock: Annotated[float, typer.Option(help="MHz; slower ones are faster to simulate.")] = 12.0,
) -> None:
    """Simulate a chip with a display, decode the display's pins, and show the panel's picture."""
    from rich.console import Console
    from rich.live import Live

    from gptloom.boards.displays import find_display
    from gptloom.cli.line import checkpoint_image
    from gptloom.firmware.page import LABEL
    from gptloom.sim.engines import open_engine
    from gptloom.sim.panel_view import framed, require_pictures, write_gif, write_png
    from gptloom.sim.shown_chip import ShownChip

    check_outputs(png, gif)
    if frames < 1:
        raise UserError(f"{frames} pictures cannot be shown: ask for 1 or more")
    if not 0 < clock < inf:
        raise UserError(f"a clock of {clock:g} MHz is none: give a positive one, such as 12")
    display = find_display(lcd)
    if display is None:
        raise UserError("without a display there is nothing to see: name one with --lcd")
    if png or gif:
        require_pictures()
    image = checkpoint_image(checkpoint, lanes)
    machine = image.machine
    notices = Console(stderr=True, highlight=False)
    with notices.status("Building the simulation") as status:
        hz = clock * 1e6
        chip = ShownChip(
            image, machine, lcd, display.make(hz), hz, partial(open_engine, progress=status.update)
        )
    console = console_for(png, gif)
    live = None
    if console.is_terminal and not text:
        live = Live(framed(None, lcd), console=console, auto_refresh=False)
    with chip.engine, live or nullcontext():
        count = 0
        for picture in chip.shown():
            if live:
                live.update(framed(picture.lines, lcd), refresh=True)
            else:
                console.print(" | ".join(picture.lines), markup=False, soft_wrap=True)
            count += not any(line.startswith(LABEL.decode()) for line in picture.lines)
            if count == frames:
                break
    panel = chip.panel
    if png:
        write_png(png, picture.picture)
    if gif:
        write_gif(gif, panel.shown, panel.cycle * panel.period)
    seconds = panel.cycle * panel.period
    notices.print(
        f"{panel.cycle:,} cycles, {seconds:.3f} s at {clock:g} MHz; every minimum time kept"
    )
