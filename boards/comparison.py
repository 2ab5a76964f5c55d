"""The comparison of ``gptloom bench``: one object of figures, and the tables made from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gptloom.boards.lineup import FOLDED
from gptloom.boards.report import describe_core
from gptloom.boards.results import is_of_text, load_results
from gptloom.boards.table import BOARDS
from gptloom.model.checkpoint import load_checkpoint
from gptloom.model.loss import float_loss
from gptloom.sim.baseline.measure import SoftwareSpeed
from gptloom.sim.generation import CLOCK_MHZ
from gptloom.sim.peers import load_peers

Figures = Mapping[str, Any]

_OF_A_BUILD = ("board", "device", "core", "lanes", "bits", "bits_per_cycle", "positions_per_cycle",
               "heads_per_cycle", "streams", "key_bits", "value_bits", "fmax_mhz",
               "constraint_mhz", "cycles_per_token", "tokens_per_second",
               "aggregate_tokens_per_second", "integer_loss")  # fmt: skip


@dataclass(frozen=True)
class Table:
    """A table of text, for the terminal and for Markdown.

    Attributes
    ----------
    title
        Title, above the table.
    columns
        Their headings.
    rows
        Rows of cells, one per column.
    texts
        Number of columns from the left that are text; the others are numbers.
    """

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    texts: int = 1

    def markdown(self) -> str:
        """Return it without its title and without a final newline."""
        lines = ["---" if i < self.texts else "---:" for i in range(len(self.columns))]
        return "\n".join(f"| {' | '.join(row)} |" for row in (self.columns, lines, *self.rows))


def compare(
    cores: Sequence[Figures], software: Sequence[SoftwareSpeed], machine: Figures
) -> dict[str, Any]:
    """Return all figures as one object for JSON.

    Parameters
    ----------
    cores
        Figures measured by :mod:`.lineup`.
    software
        Figures measured on this machine.
    machine
        Facts about the machine and the measurement.
    """
    return with_records(
        {
            "machine": dict(machine),
            "clock_mhz": CLOCK_MHZ,
            "float_loss": float_loss(load_checkpoint(FOLDED)),
            "cores": [dict(core) for core in cores],
            "software": [asdict(speed) for speed in software],
        }
    )


def with_records(figures: Figures) -> dict[str, Any]:
    """Return the same measurement with the current records of builds and of peers."""
    builds = [
        {name: build[name] for name in _OF_A_BUILD if name in build}
        for build in load_results()
        if build["met"] and not is_of_text(build)
    ]
    return {**figures, "builds": builds, "peers": [asdict(peer) for peer in load_peers()]}


def tables(figures: Figures) -> dict[str, Table]:
    """Return the tables of a comparison by their names."""
    return {
        "cores": cores_table(figures),
        "positions": positions_table(figures),
        "builds": builds_table(figures),
        "software": software_table(figures),
        "peers": peers_table(figures),
    }


def cores_table(figures: Figures) -> Table:
    """Return the table of the cores' figures in simulation."""
    hz = figures["clock_mhz"] * 1e6

    def speed(cycles: float | None) -> str:
        return "" if cycles is None else f"{hz / cycles:,.0f}"

    rows = [
        (
            name(core),
            f"{core['cycles_per_token']:.1f}",
            speed(core["cycles_per_token"]),
            speed(core.get("cycles_per_token_of_all")),
            f"{core['integer_loss']:.4f}",
        )
        for core in figures["cores"]
    ]
    columns = (
        "core, simulated cycle by cycle",
        "cycles/token",
        f"tokens/s at {figures['clock_mhz']:g} MHz",
        "of all streams",
        f"held-out loss (float {figures['float_loss']:.4f})",
    )
    return Table("Cores, simulated cycle by cycle", columns, rows)


def name(core: Figures) -> str:
    """Return a core's description, in few words."""
    if core["core"] == "folded":
        return f"folded, {core['lanes']} lanes"
    return f"unrolled, {core['bits']}-bit weights, {core['streams']} streams"


def positions_table(figures: Figures) -> Table:
    """Return the table of a token's cycles by its position."""
    cycles = [core["cycles_by_position"] for core in figures["cores"]]
    rows = [
        (str(p), *(f"{of_core[p]:.0f}" if p < len(of_core) else "" for of_core in cycles))
        for p in range(max(map(len, cycles), default=0))
    ]
    columns = ("position", *(name(core) for core in figures["cores"]))
    return Table("Cycles of a token, by its position", columns, rows, texts=0)


def builds_table(figures: Figures) -> Table:
    """Return the table of every core's fastest build: the highest frequency after routing."""
    best: dict[str, Figures] = {}
    for build in figures["builds"]:
        core = describe_core(build)
        if core not in best or build["fmax_mhz"] > best[core]["fmax_mhz"]:
            best[core] = build
    rows = []
    for build in sorted(best.values(), key=lambda build: -build["tokens_per_second"]):
        together = build.get("aggregate_tokens_per_second")
        rows.append(
            (
                f"{BOARDS[build['board']].title} ({build['device']})",
                name(build),
                f"{build['constraint_mhz']:g} (reaches {build['fmax_mhz']:.1f})",
                f"{build['tokens_per_second']:,}",
                f"{together:,}" if together else "",
            )
        )
    columns = ("board", "core", "clock MHz, met", "tokens/s", "of all streams")
    return Table("On boards, after place-and-route", columns, rows, texts=2)


def software_table(figures: Figures) -> Table:
    """Return the table of the programs measured on this machine."""
    rows = [
        (s["name"], s["made_with"], _number(s["tokens_per_second"]), _loss(s["loss"]))
        if not s["missing"]
        else (s["name"], f"not measured: {s['missing']}", "", "")
        for s in figures["software"]
    ]
    program = f"program, on one core of {figures['machine']['cpu']}"
    columns = (program, "made with", "tokens/s", "held-out loss")
    return Table("The same model on a CPU", columns, rows, texts=2)


def peers_table(figures: Figures) -> Table:
    """Return the table of others' figures."""
    rows = [
        (
            f"{peer['name']}, {peer['on']} ({peer['figure']})",
            f"{peer['parameters']:,}",
            _number(peer["cycles_per_token"]),
            _number(peer["tokens_per_second"]),
            _number(peer["together"]),
            "" if peer["loss"] is None else f"{peer['loss']:.3f}",
        )
        for peer in figures["peers"]
    ]
    columns = ("peer", "parameters", "cycles/token", "tokens/s", "batched", "loss")
    return Table("Peers", columns, rows)


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _loss(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
