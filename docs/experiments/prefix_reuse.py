"""Savings by keeping a prefix's keys and values between documents (docs/kv-cache.md).

Run it with ``.venv/bin/python docs/experiments/prefix_reuse.py``.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from gptloom.cli.output import check_outputs
from gptloom.firmware.image import build_image
from gptloom.firmware.machine import SLOTS, Machine
from gptloom.hdl.folded.core import FoldedCore
from gptloom.model.checkpoint import load_checkpoint
from gptloom.model.errors import UserError
from gptloom.model.files import write_json
from gptloom.model.golden import GoldenModel
from gptloom.model.integer import IntegerModel
from gptloom.model.quantise import quantise
from gptloom.sim.engines import Engine, open_engine
from gptloom.sim.generation import MismatchError, compared
from gptloom.sim.session import CoreSession


@dataclass(frozen=True)
class PrefixCycles:
    """Cycles from one document's end to the next one's first token.

    Attributes
    ----------
    known
        Tokens with which both documents begin.
    computed, reused
        Cycles if all of these are computed, and if rows in a slot of the cache are reused.
    """

    known: int
    computed: int
    reused: int


def measure_reuse(
    model: IntegerModel, machine: Machine, open_engine: Callable[[FoldedCore], Engine]
) -> Iterator[PrefixCycles]:
    """Yield the cycles for every number of known tokens, counted in simulation.

    Parameters
    ----------
    model
        The network.
    machine
        Machine with slots, to compare with one without.
    open_engine
        Opens a simulation of a core.

    Raises
    ------
    MismatchError
        If a token is not the golden model's, which recomputes everything.
    """
    cores = [FoldedCore(replace(machine, slots=0, slot_words=0, joins=False)), FoldedCore(machine)]
    with ExitStack() as opened:
        engines = [opened.enter_context(open_engine(core)) for core in cores]
        for length in range(model.config.context):
            prompt = [place % model.tokenizer.bos for place in range(length)]
            cycles = (_second(model, *one, prompt) for one in zip(cores, engines, strict=True))
            yield PrefixCycles(length + 1, *cycles)


def _second(model: IntegerModel, core: FoldedCore, engine: Engine, prompt: list[int]) -> int:
    """Return the cycles of the first token of a prompt's second document."""
    engine.reset()
    session = CoreSession(core, engine)
    session.load(build_image(model, core.machine))
    session.temperature(model.logit_scale(1.0))
    session.seed(1)
    seen = compared(session.tokens(prompt), GoldenModel(model).generate(1, 1.0, prompt))
    while not next(seen).last:
        pass
    return next(seen).cycles


@dataclass(frozen=True)
class TurnCycles:
    """Cycles from requesting a document to its first token, with alternating prompts.

    Attributes
    ----------
    slots
        Slots of the cache; 0 keeps nothing.
    cycles
        Mean over all documents.
    reused, known
        Known tokens that were in a slot, and known tokens in all.
    """

    slots: int
    cycles: float
    reused: int
    known: int


TURNS = ("mari", "john", "anna", "marg")
"""Alternating prompts; the first and the last begin alike."""
ROUNDS = 5
LANES = [16, 64]


def measure_turns(
    model: IntegerModel, machine: Machine, open_engine: Callable[[FoldedCore], Engine]
) -> TurnCycles:
    """Return the cycles with alternating prompts, counted in simulation.

    Raises
    ------
    MismatchError
        If a token is not the golden model's, which recomputes everything.
    """
    core, cycles = FoldedCore(machine), []
    prompts = [model.tokenizer.encode(prompt) for prompt in TURNS] * ROUNDS
    with open_engine(core) as engine:
        session = CoreSession(core, engine)
        session.load(build_image(model, machine))
        session.temperature(model.logit_scale(0))
        for prompt in prompts:
            golden = GoldenModel(model).generate(1, 0, prompt)
            for place, seen in enumerate(compared(session.tokens(prompt), golden)):
                if place == 0:
                    cycles.append(seen.cycles)
                if seen.last:
                    break
        known = sum(1 + len(prompt) for prompt in prompts)
        return TurnCycles(machine.slots, mean(cycles), session.cache()["reused"], known)


def show(console: Console, title: str, columns: Sequence[str], rows: Iterable[Sequence]) -> None:
    """Print a table of figures."""
    table = Table(*columns, title=title)
    for row in rows:
        table.add_row(*map(str, row))
    for column in table.columns:
        column.justify = "right"
    console.print(table)


def main(
    checkpoint: Annotated[str, typer.Option(help="A shipped one, or a file.")] = "names",
    lanes: Annotated[list[int], typer.Option(help="Widths; turns of the first.")] = LANES,
    engine: Annotated[str, typer.Option(help="auto, cxxrtl or pysim.")] = "auto",
    json_file: Annotated[Path | None, typer.Option("--json", help="For the figures.")] = None,
) -> None:
    """Measure cycles to the first token of a document whose known tokens are kept."""
    check_outputs(json_file)
    console, notices = Console(highlight=False), Console(stderr=True, highlight=False)
    model = quantise(load_checkpoint(checkpoint))
    found, turns = {}, []
    with notices.status("") as status:
        simulate = partial(open_engine, kind=engine, progress=status.update)
        for width in lanes:
            name = f"folded, {width} lanes"
            machine = Machine.for_model(width, model, slots=1)
            rows = list(measure_reuse(model, machine, simulate))
            found[name] = [asdict(row) for row in rows]
            show(
                console,
                f"cycles, {name}",
                ("known tokens", "computed", "reused", "saved"),
                [(r.known, r.computed, r.reused, r.computed - r.reused) for r in rows],
            )
        for slots in SLOTS:
            machine = Machine.for_model(lanes[0], model, slots=slots)
            turns.append(measure_turns(model, machine, simulate))
    show(
        console,
        f"{', '.join(TURNS)} in turn, {lanes[0]} lanes: cycles from a prompt to its first token",
        ("slots", "cycles", "rows used again"),
        [(t.slots, f"{t.cycles:.1f}", f"{t.reused} of {t.known}") for t in turns],
    )
    if json_file:
        told = [asdict(turn) for turn in turns]
        write_json(json_file, {"checkpoint": checkpoint, "cores": found, "turns": told})


if __name__ == "__main__":
    try:
        typer.run(main)
    except (UserError, MismatchError) as error:
        sys.exit(f"error: {error}")
