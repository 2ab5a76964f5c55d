"""``gptloom quantize``: what becomes of a checkpoint in integers, and what that costs."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from gptloom.model.checkpoint import load_checkpoint, write_json

if TYPE_CHECKING:
    from gptloom.model.costs import Costs
    from gptloom.model.integer import IntegerModel


def quantize(
    checkpoint: Annotated[
        str, typer.Option(help="A shipped checkpoint's name, or a file of gptloom train.")
    ] = "names",
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the same as JSON to this file.")
    ] = None,
) -> None:
    """Turn a checkpoint into integers and show what each approximation costs."""
    from gptloom.model.costs import approximation_costs
    from gptloom.model.quantise import measurement_rows, quantise

    loaded = load_checkpoint(checkpoint)
    model = quantise(loaded)
    rows, _ = measurement_rows(loaded)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("measuring")
        costs = approximation_costs(
            loaded, model, rows, lambda done, of: progress.update(task, completed=done, total=of)
        )
    if json_file:
        report = {**model.metadata, **asdict(costs)}
        write_json(json_file, report)
    console = Console()
    console.print(_losses(model, costs), _sites(costs))
    if json_file:
        console.print(f"Wrote {json_file}.")


def _losses(model: "IntegerModel", costs: "Costs") -> Table:
    stated = model.metadata
    table = Table(f"{stated['checkpoint']} on {stated['loss_set']}", "nats per token")
    table.columns[1].justify = "right"
    table.add_row("floating point, the best of training", f"{stated['float_loss']:.4f}")
    table.add_row("floating point, these weights", f"{costs.exact:.4f}")
    table.add_row("integers", f"{stated['integer_loss']:.4f}")
    difference = stated["integer_loss"] - stated["float_loss"]
    table.add_row("integers - best floating point", f"{difference:+.4f}", style="bold")
    return table


def _sites(costs: "Costs") -> Table:
    table = Table("approximation", "bits", "shift", "0.0001 nats")
    for column in table.columns[1:]:
        column.justify = "right"
    for kind, together in costs.together.items():
        if kind == "all":
            continue
        for cost in costs.sites:
            if cost.kind == kind:
                shift = "" if cost.shift is None else str(cost.shift)
                table.add_row(f"  {cost.site}", str(cost.bits), shift, f"{1e4 * cost.nats:+.1f}")
        table.add_row(f"{kind} together", "", "", f"{1e4 * together:+.1f}", style="bold")
        table.add_section()
    table.add_row(
        "everything, against these weights", "", "", f"{1e4 * costs.together['all']:+.1f}"
    )
    return table
