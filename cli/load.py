"""`gptloom load`: upload of another model into a running chip."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gptloom.cli.line import Baud, PortName, open_line


def load(
    port: PortName,
    image: Annotated[Path, typer.Option(help="The model, made by 'gptloom image'.")],
    baud: Baud = 115_200,
    holds: Annotated[
        Path | None, typer.Option(help="Image that a simulated chip holds; the same by default.")
    ] = None,
) -> None:
    """Upload a model of the same dimensions; the old one runs until all of it has arrived."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

    from gptloom.boards.link import Link
    from gptloom.firmware.image import Image

    model = Image.read(image)
    machine = model.machine
    with open_line(port, baud, Image.read(holds) if holds else model) as line:
        link = Link(line)
        before = link.identify().weights
        begun = line.now()
        bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        with bars:
            task = bars.add_task("upload")
            link.upload(
                model, machine, lambda done, total: bars.update(task, completed=done, total=total)
            )
        seconds = line.now() - begun
        after = link.identify().weights
    print(f"weights {before:08X} -> {after:08X}, {seconds:.2f} s on the line")
