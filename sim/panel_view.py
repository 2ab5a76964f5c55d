"""Views of a simulated panel: in the terminal, as a picture (PNG), as a film (GIF)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.panel import Panel
from rich.text import Text

from gptloom.model.errors import UserError
from gptloom.model.files import write_file
from gptloom.sim.panels import Lines, Shown

if TYPE_CHECKING:
    from PIL import Image

_BLANK = " " * 16

_SHORTEST = 0.02
"""Seconds: viewers show no GIF frame for a shorter time."""


def framed(lines: Lines | None, title: str = "") -> Panel:
    """Return a panel's text as rich draws it: two lines in a frame, dim if the panel is dark."""
    text = Text("\n".join(lines or (_BLANK, _BLANK)), style="bold", no_wrap=True)
    style = "green" if lines else "dim"
    return Panel(text, title=title or None, box=box.ROUNDED, border_style=style, expand=False)


def write_png(path: Path, picture: NDArray[np.uint8], scale: int = 4) -> None:
    """Write a panel's picture, every dot `scale` pixels wide and high.

    Raises
    ------
    UserError
        If the extra for writing pictures is not installed, or the file cannot be written.
    """
    content = io.BytesIO()
    _image(picture, scale).save(content, format="PNG")
    write_file(path, content.getvalue())


def write_gif(path: Path, shown: Sequence[Shown], seconds: float, scale: int = 4) -> None:
    """Write everything that a panel has shown, each for as long as it was shown, in a loop.

    Parameters
    ----------
    path
        File to write.
    shown
        At least one picture; those shown for less than 0.02 s, which no viewer can do, are left
        out, such as a panel's short darkness between two texts.
    seconds
        End of the film, in the time of `shown`.
    scale
        Pixels per dot.

    Raises
    ------
    UserError
        If the extra for writing pictures is not installed, or the file cannot be written.
    """
    ends = [*(s.seconds for s in shown[1:]), seconds]
    lasting = [(s, end) for s, end in zip(shown, ends, strict=True) if end - s.seconds >= _SHORTEST]
    kept = [s for s, _ in lasting] or [shown[-1]]
    # The time of omitted pictures goes to the picture before them.
    until = [*(s.seconds for s in kept[1:]), max(seconds, kept[-1].seconds + _SHORTEST)]
    first, *others = (_image(s.picture, scale) for s in kept)
    durations = [round(100 * (end - s.seconds)) * 10 for s, end in zip(kept, until, strict=True)]
    content, film = io.BytesIO(), {"append_images": others, "duration": durations, "loop": 0}
    first.save(content, format="GIF", save_all=True, **film)
    write_file(path, content.getvalue())


def require_pictures() -> None:
    """Find out now whether pictures can be written.

    Raises
    ------
    UserError
        If the extra for writing them is not installed.
    """
    if find_spec("PIL") is None:
        raise UserError("pictures need the package Pillow: run `pip install 'gptloom[pictures]'`")


def _image(picture: NDArray[np.uint8], scale: int) -> Image.Image:
    require_pictures()
    from PIL import Image

    return Image.fromarray(picture.repeat(scale, axis=0).repeat(scale, axis=1))
