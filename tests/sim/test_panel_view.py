"""Panels in the terminal, and their pictures."""

import sys

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from gptloom.model.errors import UserError
from gptloom.sim.panel_view import framed, write_gif, write_png
from gptloom.sim.panels import Shown


def rendered(*args, **kwargs):
    console = Console(width=60, record=True, file=sys.stderr)
    console.print(framed(*args, **kwargs))
    return console.export_text().rstrip().splitlines()


def test_two_lines_in_a_frame():
    assert rendered(("[bold]emma      ", "  2nd line      "), "HD44780") == [
        "╭──── HD44780 ─────╮",
        "│ [bold]emma       │",
        "│   2nd line       │",
        "╰──────────────────╯",
    ]
    assert rendered(None)[1:3] == ["│                  │"] * 2


def picture(seed):
    return np.random.default_rng(seed).integers(0, 2, (5, 7, 3), np.uint8) * 255


def test_png(tmp_path):
    write_png(tmp_path / "a.png", picture(1), scale=3)
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (21, 15)
        assert np.array_equal(np.asarray(image)[1::3, 1::3], picture(1))


def test_a_link_to_a_picture_stays(tmp_path):
    link = tmp_path / "link.png"
    link.symlink_to("a.png")
    write_png(link, picture(1))
    write_gif(link, [Shown(0.0, None, picture(1))], seconds=1.0)
    assert link.is_symlink()
    assert (tmp_path / "a.png").read_bytes().startswith(b"GIF")
    with pytest.raises(UserError, match="cannot be written"):
        write_png(tmp_path / "absent" / "a.png", picture(1))


def test_gif_frames_last_as_long_as_they_were_shown(tmp_path):
    # 5 ms of darkness between two texts are skipped.
    times = [(0.0, 1), (1.0, 2), (1.5, 3), (1.505, 4)]
    shown = [Shown(seconds, None, picture(seed)) for seconds, seed in times]
    write_gif(tmp_path / "a.gif", shown, seconds=3.0, scale=2)
    with Image.open(tmp_path / "a.gif") as film:
        frames = []
        for number in range(film.n_frames):
            film.seek(number)
            dots = np.asarray(film.convert("RGB"))[::2, ::2]
            frames.append((film.info["duration"], dots))
        assert film.info["loop"] == 0
    assert [duration for duration, _ in frames] == [1000, 500, 1500]
    for (_, dots), seed in zip(frames, (1, 2, 4), strict=True):
        assert np.array_equal(dots, picture(seed))


def test_without_pillow_a_sentence_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(UserError, match=r"gptloom\[pictures\]"):
        write_png(tmp_path / "a.png", picture(1))
