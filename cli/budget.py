"""`gptloom budget`: the cycles of a token, by phase."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Annotated

import typer

from gptloom.cli.cores import Core, Profile, Rows, cache_options, load_plain, refuse_options
from gptloom.cli.output import check_outputs, console_for
from gptloom.model.errors import UserError
from gptloom.model.family import Family

if TYPE_CHECKING:
    from gptloom.firmware.machine import Machine
    from gptloom.model.config import ModelConfig
    from gptloom.model.integer import IntegerModel
    from gptloom.sim.budget import Budget

_LANES = {Family.MICROGPT: (8, 16, 32, 64), Family.LLAMA: (64,)}

_SHORT = 32
"""Longest context of which all positions are measured."""

_SAMPLED = (0, 3, 63, 127, 199)
"""Positions of longer ones, beside the last."""


def budget(
    checkpoint: Annotated[str, typer.Option(help="A shipped checkpoint, or a file.")] = "names",
    core: Annotated[Core, typer.Option(help="Core to count.")] = Core.FOLDED,
    lanes: Annotated[
        list[int] | None,
        typer.Option(help="Widths to measure.", show_default="8 to 64; Llama family: 64"),
    ] = None,
    position: Annotated[
        list[int] | None,
        typer.Option(
            min=0, help="Positions to measure.", show_default="all; some of a long context"
        ),
    ] = None,
    rows: Rows = None,
    profile: Profile = None,
    engine: Annotated[str, typer.Option(help="auto, cxxrtl or pysim.")] = "auto",
    markdown: Annotated[Path | None, typer.Option(help="Write the tables to this file.")] = None,
) -> None:
    """Measure a token's cycles by phase and position, and compare them with their prediction.

    Also counts multipliers and memory bits. For the unrolled core, whose cycles are always the
    same, the timeline is drawn.
    """
    from rich.console import Console

    from gptloom.firmware.machine import Machine
    from gptloom.hdl.folded.core import FoldedCore
    from gptloom.model.files import write_file
    from gptloom.sim.budget import budgets
    from gptloom.sim.engines import open_engine

    check_outputs(markdown)
    console = console_for(markdown)
    options = {"--lanes": lanes, "--markdown": markdown, "--position": position, "--rows": rows}
    refuse_options(core, {Core.FOLDED: options | {"--profile": profile}})
    if core is Core.UNROLLED:
        _draw(console, checkpoint)
        return
    notices = Console(stderr=True, highlight=False)
    model = load_plain(checkpoint, cache_options(None, rows, None), profile)
    positions = _positions(model.config, position)
    measured: dict[Machine, list[Budget]] = {}
    for width in lanes or _LANES[model.config.family]:
        machine = Machine.for_model(width, model)
        folded = FoldedCore(machine)
        with (
            notices.status(f"Measuring {width} lanes") as status,
            open_engine(folded, engine, progress=status.update) as simulation,
        ):
            measured[machine] = list(budgets(model, machine, folded, simulation, positions))
    shape = ", ".join(f"{name} {size}" for name, size in model.config.to_dict().items())
    text = "\n\n".join([f"Checkpoint `{checkpoint}`: {shape}.", *_tables(model, measured)]) + "\n"
    console.print(text, markup=False, soft_wrap=True)
    if markdown:
        write_file(markdown, f"{_HEADER.format(checkpoint)}\n\n{text}".encode())


def _positions(config: ModelConfig, wanted: list[int] | None) -> Sequence[int]:
    """Return the positions to measure."""
    if wanted:
        for position in wanted:
            if position >= config.context:
                raise UserError(
                    f"position {position} is outside the context: give 0 to {config.context - 1}"
                )
        return sorted(set(wanted))
    if config.context <= _SHORT:
        return range(config.context)
    return [p for p in _SAMPLED if p < config.context - 1] + [config.context - 1]


def _draw(console, checkpoint: str) -> None:
    from gptloom.hdl.unrolled.shape import Shape
    from gptloom.model.checkpoint import load_checkpoint
    from gptloom.model.merged.quantise import quantise
    from gptloom.sim.timeline import draw

    core = Shape().make(quantise(load_checkpoint(checkpoint)))
    console.print(draw(core), markup=False, soft_wrap=True)
    console.print(
        f"\n{core.streams} streams, one of which has its turn every {core.interval} cycles: "
        f"{core.streams * core.interval} cycles/token of each"
    )


_HEADER = """# Cycle budget of the folded core

Made by `gptloom budget --checkpoint {} --markdown FILE`. Cycles are counted in RTL simulation of
the whole core, sampling included. A phase lasts from its first multiplication to the next phase's
first one, so the wait for results still in the pipeline belongs to the phase that produces them. A
norm's scalar is computed beside the products that it scales: it takes no time of its own.
Predicted cycles come from `firmware/timeline.py`; a test holds them equal to measured ones at every
position."""


def _tables(model: IntegerModel, measured: dict[Machine, list[Budget]]) -> list[str]:
    """Return Markdown: cycles by phase, cycles by position, multipliers and memory bits."""
    from gptloom.firmware.resources import memory_bits, multipliers
    from gptloom.sim.budget import predict

    header = [f"{machine.lanes} lanes" for machine in measured]
    runs = list(measured.values())
    phases = list(runs[0][0].measured)

    def pair(predicted: float, seen: float) -> str:
        return f"{predicted:g} / {seen:g}"

    def totals(run: list[Budget]) -> str:
        return pair(
            mean(sum(b.predicted.values()) for b in run),
            mean(sum(b.measured.values()) for b in run),
        )

    by_phase = [
        [
            phase,
            *(
                pair(*(mean(getattr(b, kind)[phase] for b in run) for kind in _KINDS))
                for run in runs
            ),
        ]
        for phase in phases
    ]
    by_phase.append(["**all**", *map(totals, runs)])
    by_position = [
        [str(same[0].position), *(str(sum(b.measured.values())) for b in same)]
        for same in zip(*runs, strict=True)
    ]
    some = len(runs[0]) < model.config.context
    if some:
        every = [[sum(phases.values()) for phases in predict(model, m)] for m in measured]
        for end in [200, model.config.context]:
            label = f"predicted mean of 0 to {end - 1}"
            if end <= model.config.context:
                by_position.append([label, *(f"{mean(all_[:end]):.1f}" for all_ in every)])
    which = "these" if some else "all"
    machines = list(measured)
    used, kept = [*map(multipliers, machines)], [*map(memory_bits, machines)]
    factors = [[name, *(str(m[name]) for m in used)] for name in used[0]]
    bits = [[name, *(f"{m[name]:,}" for m in kept)] for name in kept[0]]
    bits.append(["**all**", *(f"{sum(m.values()):,}" for m in kept)])
    return [
        f"## Cycles by phase, mean over {which} positions (predicted / measured)",
        _table(["phase", *header], by_phase),
        "## Cycles by position (measured)",
        _table(["position", *header], by_position),
        "## Multipliers",
        _table(["for", *header], factors),
        "## Memory bits",
        _table(["memory", *header], bits),
    ]


_KINDS = ("predicted", "measured")


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
