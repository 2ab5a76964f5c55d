"""Pages made from the recorded comparison: tables in the README, and docs/benchmarks.md."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gptloom.boards.comparison import Table, tables, with_records
from gptloom.boards.speed_plot import draw_speeds
from gptloom.model.errors import UserError
from gptloom.model.files import write_file, write_json

HOME = Path(__file__).resolve().parents[1]
RECORD, PAGE, PICTURE, README = (
    "docs/bench.json",
    "docs/benchmarks.md",
    "docs/bench.png",
    "README.md",
)
IN_README = ("cores", "builds", "software")


def write_pages(home: Path = HOME) -> None:
    """Make all pages anew from ``docs/bench.json``, and update its records of builds and peers.

    Parameters
    ----------
    home
        A checkout.

    Raises
    ------
    UserError
        Outside a checkout, or if a page lacks the place of a table.
    """
    record, readme = home / RECORD, home / README
    for file in (record, readme):
        if not file.exists():
            raise UserError(
                f"{file} is missing: run ./loom bench --pages in a clone of the repository"
            )
    figures = with_records(json.loads(record.read_text()))
    text = with_tables(readme.read_text(), tables(figures))
    page, picture = markdown(figures), draw_speeds(figures)
    write_json(record, figures)
    write_file(readme, text.encode())
    write_file(home / PAGE, page.encode())
    write_file(home / PICTURE, picture)


def with_tables(text: str, made: Mapping[str, Table]) -> str:
    """Return a page with its tables replaced: those of `IN_README`, between comments.

    Raises
    ------
    UserError
        If the place of a table is missing.
    """
    for name in IN_README:
        begin, end = f"<!-- bench: {name} -->\n", f"<!-- end of {name} -->"
        before, found, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not (found and closed):
            raise UserError(
                f"README.md has no place for the table {name}: put {begin.strip()} and {end} there"
            )
        text = f"{before}{begin}{made[name].markdown()}\n{end}{after}"
    return text


def markdown(figures: Mapping[str, Any], picture: str = "bench.png") -> str:
    """Return the page with all tables.

    Parameters
    ----------
    figures
        Figures from :func:`.compare`.
    picture
        Path of the plot, relative to the page; empty for none.
    """
    made, machine = tables(figures), figures["machine"]
    notes = {
        "cores": (
            f"{machine['names']} names each, sampling and end tokens included, temperature "
            f"{machine['temperature']:g}; every token equals the golden model's. Of an unrolled "
            "core a single stream's cycles, its pipeline full."
        ),
        "positions": "The mean of all tokens at a position; empty where no name was so long.",
        "builds": (
            "The whole design, made with open tools, the fastest build of each core. Tokens/s are "
            "those at its real clock, the PLL's, for which timing was met. All are in boards.md."
        ),
        "software": (
            "One thread, one document after the other, with a KV cache, sampling included: the "
            f"best of {machine['repetitions']} repetitions, by the time that the CPU worked. The C "
            "code is sim/baseline/microgpt.c: it looks up what depends on a token and its position "
            "only, and merges matrices; its logits equal the float model's."
        ),
        "peers": (
            "Lines say whether a figure was published or measured by us; sim/peers.toml says more "
            "of each. Losses are on 2,000 names of Karpathy's file and do not compare with ours: "
            "gateGPT was trained on these names, our models on others. Programs on CPUs that we "
            "measured sampled at temperature 0.5."
        ),
    }
    parts = [
        "# Benchmarks",
        "Made by `gptloom bench`. Energy was not measured.",
        *([f"![Tokens per second and cycles by position]({picture})"] if picture else []),
    ]
    for name, table in made.items():
        if table.rows:
            parts += [f"## {table.title}", notes[name], table.markdown()]
    return "\n\n".join(parts) + "\n"
