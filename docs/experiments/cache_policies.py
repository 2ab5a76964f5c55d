"""Caches side by side: their cost in loss, state and cycles (docs/kv-cache.md).

Run it with ``.venv/bin/python docs/experiments/cache_policies.py --plot docs/kv-policies.png``.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import mean
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table
from stream_loss import state_bits, stream_losses

from gptloom.cli.output import check_outputs
from gptloom.firmware.image import build_image
from gptloom.firmware.machine import Machine
from gptloom.hdl.folded.core import FoldedCore
from gptloom.model.cache import Eviction
from gptloom.model.checkpoint import load_checkpoint
from gptloom.model.corpus import heldout_documents
from gptloom.model.errors import UserError
from gptloom.model.files import write_file, write_json
from gptloom.model.integer import IntegerModel
from gptloom.model.positions import Positions
from gptloom.model.quantise import quantise
from gptloom.model.recurrent import golden_of
from gptloom.sim.cache_plot import check_extra, to_png
from gptloom.sim.engines import Engine, open_engine
from gptloom.sim.generation import MismatchError, compared
from gptloom.sim.session import CoreSession

LENGTHS = (16, 128, 512, 4096)
LANES = 16
MEAN_OF = 32
"""Positions averaged in a point of the picture."""
FULL = 64
"""Rows of the cache without eviction for which cycles are counted."""


@dataclass(frozen=True)
class Policy:
    """A cache; without a number of rows it has one for each token of the stream, if any."""

    eviction: Eviction
    rows: int | None = None
    sinks: int = 0

    def __str__(self) -> str:
        if self.eviction is Eviction.RECURRENT:
            return "recurrent sums"
        if self.rows is None:
            return "all rows kept"
        sinks = f", {self.sinks} of them sinks" if self.sinks else ""
        return f"{self.eviction}, {self.rows} rows{sinks}"


POLICIES = (
    Policy(Eviction.NONE),
    Policy(Eviction.WINDOW, 32),
    Policy(Eviction.WINDOW, 16),
    Policy(Eviction.WINDOW, 20, 4),
    Policy(Eviction.WINDOW, 16, 4),
    Policy(Eviction.ATTENTION, 16),
    Policy(Eviction.WINDOW, 8),
    Policy(Eviction.ATTENTION, 8),
    Policy(Eviction.WINDOW, 4),
    Policy(Eviction.ATTENTION, 4),
    Policy(Eviction.RECURRENT),
)


@dataclass(frozen=True)
class PolicyFigures:
    """Measured figures of a cache.

    Attributes
    ----------
    policy
        Name of the policy.
    losses
        Mean loss over the second half of a stream, in nats per token, by the stream's length.
    bits
        Bits of state, by length of the stream.
    cycles
        Cycles per token with a full cache, in a folded core with ``LANES`` lanes.
    curve
        Loss by position of the streams of 512 tokens.
    """

    policy: str
    losses: dict[int, float]
    bits: dict[int, int]
    cycles: float
    curve: list[float]


def measure_policies(
    model: IntegerModel,
    open_engine: Callable[[FoldedCore], Engine],
    lengths: Sequence[int] = LENGTHS,
    policies: Sequence[Policy] = POLICIES,
    progress: Callable[[str], None] = lambda what: None,
) -> Iterator[PolicyFigures]:
    """Yield the figures of every policy, on the held-out names in a row.

    Raises
    ------
    UserError
        If the model's positions end with the context, or the names have other characters.
    MismatchError
        If simulated hardware and golden model differ.
    """
    if model.config.positions is Positions.LEARNED:
        raise UserError(
            "learned positions end with the context, so there is no stream to measure: give a "
            "checkpoint trained with --positions alibi, names-alibi for example"
        )
    streams = {n: model.tokenizer.stream_rows(heldout_documents(), n) for n in lengths}
    for policy in policies:
        if policy.eviction is Eviction.RECURRENT and model.config.layers > 1:
            continue
        losses, bits, curve = {}, {}, np.zeros(0)
        for length, rows in streams.items():
            progress(f"{policy}, {length} tokens")
            cached = _with(model, policy, length)
            found = stream_losses(cached, rows)
            losses[length] = float(found[length // 2 :].mean())
            bits[length] = state_bits(cached)
            curve = found if length == 512 else curve
        progress(f"{policy}, cycles")
        cycles = full_cycles(_with(model, policy, FULL), open_engine)
        yield PolicyFigures(str(policy), losses, bits, cycles, curve.tolist())


def full_cycles(model: IntegerModel, open_engine: Callable[[FoldedCore], Engine]) -> float:
    """Return the mean cycles of a token of a core whose cache is full, counted in simulation.

    Raises
    ------
    MismatchError
        If a token is not the golden model's.
    """
    core = FoldedCore(Machine.for_model(LANES, model))
    rows = model.config.context
    # The token counted is the last one that fills the cache, or one after it.
    prompt, counted = [place % model.tokenizer.bos for place in range(rows - 2)], 1
    if model.config.endless:
        counted = 40
    with open_engine(core) as engine:
        session = CoreSession(core, engine)
        session.load(build_image(model, core.machine))
        session.temperature(model.logit_scale(1.0))
        session.seed(1)
        golden = golden_of(model).generate(1, 1.0, prompt)
        tokens = islice(compared(session.tokens(prompt), golden), counted + 1)
        return mean([seen.cycles for seen in tokens][1:])


def _with(model: IntegerModel, policy: Policy, length: int) -> IntegerModel:
    return model.with_cache(policy.rows or length, policy.eviction, policy.sinks)


def draw_policies(measured: Sequence[PolicyFigures]) -> bytes:
    """Return a PNG: loss along streams of 512 tokens, for each cache."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.subplots()
    for number, figures in enumerate(measured):
        # Names differ more than caches do: means over positions make caches distinguishable.
        means = np.convolve(figures.curve, np.full(MEAN_OF, 1 / MEAN_OF), "valid")
        places = np.arange(len(means)) + MEAN_OF // 2
        label = f"{figures.policy}: {figures.losses[512]:.4f}"
        axes.plot(places, means, lw=1, ls=("-", "--", ":")[number % 3], label=label)
    axes.set(xlabel="position in the stream", ylabel=f"nats per token, mean of {MEAN_OF}")
    figure.legend(loc="outside right upper", fontsize="small")
    return to_png(figure)


def show(console: Console, checkpoint: str, found: Sequence[PolicyFigures]) -> None:
    """Print the figures as a table."""
    table = Table(
        "cache",
        *(f"loss, {length:,}" for length in LENGTHS),
        "bits of state",
        "cycles/token",
        title=f"{checkpoint}: streams of so many tokens, loss of their second half; "
        f"cycles of {LANES} lanes with a full cache",
    )
    for column in table.columns[1:]:
        column.justify = "right"
    for f in found:
        bits = sorted({f.bits[length] for length in LENGTHS})
        fixed = len(bits) == 1
        table.add_row(
            f.policy,
            *(f"{f.losses[length]:.4f}" for length in LENGTHS),
            f"{bits[0]:,}" if fixed else f"{bits[0]:,} to {bits[-1]:,}",
            f"{f.cycles:.1f}" + ("" if fixed else f" at {FULL} rows"),
        )
    console.print(table)


def main(
    checkpoint: Annotated[str, typer.Option(help="A shipped one, or a file.")] = "names-alibi",
    engine: Annotated[str, typer.Option(help="auto, cxxrtl or pysim.")] = "auto",
    json_file: Annotated[Path | None, typer.Option("--json", help="For the figures.")] = None,
    plot: Annotated[Path | None, typer.Option(help="A PNG file for the losses.")] = None,
) -> None:
    """Measure loss, state and cycles of caches that evict."""
    check_outputs(json_file, plot)
    if plot:
        check_extra()
    console, notices = Console(highlight=False), Console(stderr=True, highlight=False)
    model, simulate = quantise(load_checkpoint(checkpoint)), partial(open_engine, kind=engine)
    with notices.status("") as status:
        found = list(measure_policies(model, simulate, progress=status.update))
    show(console, checkpoint, found)
    if json_file:
        figures = [asdict(f) for f in found]
        write_json(json_file, {"checkpoint": checkpoint, "lanes": LANES, "policies": figures})
    if plot:
        write_file(plot, draw_policies(found))


if __name__ == "__main__":
    try:
        typer.run(main)
    except (UserError, MismatchError) as error:
        sys.exit(f"error: {error}")
