"""The record of measured builds: a JSON file, and the table made from it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gptloom.boards.report import describe_core, speeds
from gptloom.model.errors import UserError
from gptloom.model.files import write_file, write_json

FIELDS = (
    "board", "device", "core", "bits", "fmax_mhz", "constraint_mhz", "met", "lut", "ff", "dsp",
    "bram", "cycles_per_token", "tokens_per_second", "integer_loss", "seed", "tools", "command",
)  # fmt: skip
"""Fields of every build."""

FIELDS_OF = {
    "folded": ("lanes",),
    "unrolled": (
        "bits_per_cycle", "positions_per_cycle", "heads_per_cycle", "streams",
        "key_bits", "value_bits", "aggregate_tokens_per_second", "wall_seconds",
    ),
}  # fmt: skip
"""Further fields by core; ``tokens_per_second`` is a single stream's."""

OF_TEXT = ("checkpoint", "profile", "rows", "kl")
"""Further fields of chips that write text; their ``tokens_per_second`` is the mean of the first
positions (:func:`.measure_text`)."""

_HOME = Path(__file__).resolve().parent
RESULTS = _HOME / "results.json"
PAGE = _HOME.parent / "docs" / "boards.md"
BEGIN, END = "<!-- results -->", "<!-- end of results -->"


def load_results(path: Path = RESULTS) -> list[dict[str, Any]]:
    """Return all recorded builds; an empty list if nothing was recorded."""
    return json.loads(path.read_text()) if path.exists() else []


def record(figures: Mapping[str, Any], results: Path = RESULTS, page: Path = PAGE) -> None:
    """Add a build, or replace the one of the same board, core and clock.

    Parameters
    ----------
    figures
        All of ``FIELDS``, and those of its core.
    results, page
        The record, and the page whose table is made anew from it.

    Raises
    ------
    UserError
        Outside a checkout, where the page is missing.
    """
    if not page.exists():
        raise UserError(
            "--record changes boards/results.json and docs/boards.md of a checkout: run ./loom "
            "build in a clone of the repository"
        )
    names = (*FIELDS, *FIELDS_OF[figures["core"]], *(OF_TEXT if is_of_text(figures) else ()))
    entry = {name: figures[name] for name in names}
    others = [r for r in load_results(results) if _key(r) != _key(entry)]
    entries = sorted([*others, entry], key=_key)
    text = page.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    write_json(results, entries)
    write_file(page, f"{before}{BEGIN}\n{table(entries)}\n{END}{after}".encode())


def is_of_text(entry: Mapping[str, Any]) -> bool:
    """Tell whether a build is of a chip that writes text; all others show names."""
    return "checkpoint" in entry


def _key(entry: Mapping[str, Any]) -> tuple:
    names = ("lanes", "bits", *FIELDS_OF["unrolled"][:6], "rows", "constraint_mhz")
    text = entry.get("checkpoint", "")
    return entry["board"], entry["core"], text, *(entry.get(name, 0) for name in names)


def table(entries: Sequence[Mapping[str, Any]]) -> str:
    """Return the Markdown table of recorded builds."""
    lines = [
        "| board | core | clock MHz | Fmax MHz | LUT | FF | DSP | BRAM | cycles/token | tokens/s "
        "| of all streams | loss |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for e in entries:
        speed, together = speeds(e)
        lines.append(
            f"| {e['board']} ({e['device']}) | {describe_core(e)} "
            f"| {e['constraint_mhz']:g} | {e['fmax_mhz']:.1f} | {e['lut']:,} | {e['ff']:,} "
            f"| {e['dsp']} | {e['bram']} | {e['cycles_per_token']:.1f} | {speed} | {together} "
            f"| {e['integer_loss']:.4f} |"
        )
    return "\n".join(lines)
