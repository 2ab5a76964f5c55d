"""Figures from the reports of place-and-route."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gptloom.boards.family import Family
from gptloom.model.formats import STANDARD
from gptloom.model.loss import loss_label

_CELL_SUFFIX = re.compile(
    r"(_(SB|TRELLIS|LUT4|PFUMX|L6MUX21|CCU2C|MULT18X18D|DP16KD|PDPW16KD|Z|Q|DI)(_|$)|\$nextpnr).*"
)
"""Suffixes that yosys and nextpnr add to a signal's name to name the cells that drive it."""


@dataclass(frozen=True)
class Path:
    """The slowest path of a clock.

    Attributes
    ----------
    points
        Signals from register to register, as the design names them.
    nanoseconds
        From the first register's clock edge to the last one's setup.
    logic_nanoseconds
        Share of the logic, without routing.
    """

    points: tuple[str, ...]
    nanoseconds: float
    logic_nanoseconds: float

    def __str__(self) -> str:
        return f"{self.points[0]} to {self.points[-1]}, {self.nanoseconds:.1f} ns"


@dataclass(frozen=True)
class Used:
    """How much of one kind of cell is used."""

    used: int
    available: int


@dataclass(frozen=True)
class Timing:
    """One placed and routed design.

    Attributes
    ----------
    seed
        Seed of the placement.
    fmax_mhz
        Highest frequency, after routing.
    constraint_mhz
        Frequency that it has to reach: the PLL's.
    path
        The slowest path, which limits it.
    utilisation
        Cells used, by nextpnr's kinds of cells.
    """

    seed: int
    fmax_mhz: float
    constraint_mhz: float
    path: Path
    utilisation: Mapping[str, Used]

    @property
    def met(self) -> bool:
        """Whether the design runs at its clock."""
        return self.fmax_mhz >= self.constraint_mhz

    @property
    def slack_ns(self) -> float:
        """Time left in a cycle."""
        return 1e3 / self.constraint_mhz - 1e3 / self.fmax_mhz

    def count(self, kind: str) -> int:
        """Return how many cells of a kind are used; 0 for kinds that the family does not have."""
        return self.utilisation[kind].used if kind in self.utilisation else 0


def parse_timing(report: Mapping[str, Any], seed: int, clock_mhz: float) -> Timing:
    """Read the JSON of nextpnr's ``--report``.

    Parameters
    ----------
    report
        The decoded report.
    seed
        Seed of the placement.
    clock_mhz
        The PLL's frequency, which is the constraint; nextpnr rounds it to a period of whole
        picoseconds.

    Raises
    ------
    ValueError
        If no clock was timed, or one with another constraint.
    """
    if not report["fmax"]:
        raise ValueError("nextpnr timed no clock")
    name, clock = min(report["fmax"].items(), key=lambda c: c[1]["achieved"] / c[1]["constraint"])
    if abs(clock["constraint"] / clock_mhz - 1) > 1e-3:
        raise ValueError(f"nextpnr timed {clock['constraint']} MHz instead of {clock_mhz} MHz")
    paths = [
        _path(entry["path"])
        for entry in report["critical_paths"]
        if entry["from"] == entry["to"] == f"posedge {name}"
    ]
    return Timing(
        seed=seed,
        fmax_mhz=clock["achieved"],
        constraint_mhz=clock_mhz,
        path=max(paths, key=lambda path: path.nanoseconds),
        utilisation={
            kind: Used(cells["used"], cells["available"])
            for kind, cells in report["utilization"].items()
        },
    )


def _path(steps: list[Mapping[str, Any]]) -> Path:
    points: list[str] = []
    for step in steps:
        for end in ("from", "to"):
            name = design_name(step[end]["cell"])
            if name and (not points or points[-1] != name):
                points.append(name)
    delays = [(step["delay"], step["type"]) for step in steps]
    return Path(
        tuple(points),
        sum(delay for delay, _ in delays),
        sum(delay for delay, kind in delays if kind != "routing"),
    )


def design_name(cell: str) -> str:
    """Return the signal or block of the design that a cell belongs to, without the top's name.

    The result is empty for a cell that has no name of its own.
    """
    if cell.startswith("$"):
        return ""
    return re.sub(r"\$\d+", "", _CELL_SUFFIX.sub("", cell)).removeprefix("top.")


@dataclass(frozen=True)
class Result:
    """One build, as it is reported and recorded.

    Attributes
    ----------
    timing
        Timing of the best seed.
    seeds
        Fmax of every seed that was tried.
    family
        Family of the part.
    figures
        The object of ``boards/results.json``.
    """

    timing: Timing
    seeds: Mapping[int, float]
    family: Family
    figures: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Return all figures for the JSON report."""
        timing = self.timing
        return {
            **self.figures,
            "slack_ns": round(timing.slack_ns, 3),
            "critical_path": list(timing.path.points),
            "critical_path_ns": round(timing.path.nanoseconds, 3),
            "critical_path_logic_ns": round(timing.path.logic_nanoseconds, 3),
            "utilisation": {
                kind: {"used": cells.used, "available": cells.available}
                for kind, cells in timing.utilisation.items()
                if cells.used
            },
            "seeds": {str(seed): round(fmax, 2) for seed, fmax in self.seeds.items()},
        }

    def rows(self) -> dict[str, str]:
        """Return the table's lines, the same for terminal and Markdown."""
        f, timing = self.figures, self.timing
        verdict = "met" if timing.met else "NOT MET"
        rows = {
            "board": f"{f['board']} ({f['device']})",
            "core": describe_core(f),
            "Fmax after routing": f"{timing.fmax_mhz:.2f} MHz",
            "constraint": f"{timing.constraint_mhz:.2f} MHz, {verdict}",
            "slack": f"{timing.slack_ns:+.2f} ns",
        }
        for kind, cells in timing.utilisation.items():
            if cells.used:
                rows[kind] = (
                    f"{bar(cells.used / cells.available)} {cells.used:,} of {cells.available:,}"
                )
        rows["cycles/token"] = f"{f['cycles_per_token']:.1f}"
        rows["tokens/s"], together = speeds(f)
        if together:
            rows["tokens/s, all streams"] = together
        rows[loss_label(f["loss_set"])] = f"{f['integer_loss']:.4f}"
        if "kl" in f:
            rows["KL to the float model"] = f"{f['kl']:.4f} nats"
        if "weights_crc" in f:
            rows["weights"] = f["weights_crc"]
        rows["critical path"] = (
            f"{timing.path.nanoseconds:.2f} ns, of these logic {timing.path.logic_nanoseconds:.2f}"
        )
        for number, point in enumerate(timing.path.points):
            rows[f"  {number + 1}"] = point
        rows["seed"] = ", ".join(
            f"{seed}: {fmax:.1f} MHz{' (taken)' if seed == timing.seed else ''}"
            for seed, fmax in self.seeds.items()
        )
        rows["tools"] = f["tools"]
        rows["command"] = f["command"]
        return rows

    def markdown(self) -> str:
        """Return the table as Markdown."""
        lines = [f"| {name.strip()} | {value} |" for name, value in self.rows().items()]
        return "\n".join(["| | |", "|---|---|", *lines]) + "\n"


def describe_core(figures: Mapping[str, Any]) -> str:
    """Return a description of a build's core, in words."""
    if figures["core"] == "folded":
        made = f"{figures['lanes']} lanes"
        if "checkpoint" in figures:
            made += ", {checkpoint}, {rows} rows, {profile}".format(**figures)
    else:
        made = (
            f"{figures['streams']} streams, {figures['bits_per_cycle']} bit/cycle, "
            f"{figures['positions_per_cycle']} positions/cycle, "
            f"{figures['heads_per_cycle']} heads/cycle"
        )
        cached = figures["key_bits"], figures["value_bits"]
        if cached != STANDARD.cache.widths:
            made += ", {}-bit keys, {}-bit values".format(*cached)
    return f"{figures['core']}, {made}, {figures['bits']}-bit weights"


def speeds(figures: Mapping[str, Any]) -> tuple[str, str]:
    """Return tokens/s of a single stream and of all; the latter is empty if there is only one."""
    if not figures["met"]:
        return "timing not met", ""
    together = figures.get("aggregate_tokens_per_second")
    return f"{figures['tokens_per_second']:,}", f"{together:,}" if together else ""


def bar(share: float, width: int = 20) -> str:
    """Return a bar for a share of 1; a larger share also fills it."""
    filled = min(width, round(share * width))
    return "█" * filled + "░" * (width - filled) + f" {share:4.0%}"
