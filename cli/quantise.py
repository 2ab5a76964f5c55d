"""``gptloom quantize``: what becomes of a checkpoint in integers, and what that costs."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from gptloom.model.checkpoint import load_checkpoint, write_json
from gptloom.model.errors import UserError

if TYPE_CHECKING:
    from gptloom.model.costs import Costs


def quantize(
    checkpoint: Annotated[
        str, typer.Option(help="A shipped checkpoint's name, or a file of gptloom train.")
    ] = "names",
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the same as JSON to this file.")
    ] = None,
    form: Annotated[
        str, typer.Option(help="plain (the folded core's) or merged (the unrolled core's).")
    ] = "plain",
    bits: Annotated[
        int, typer.Option(help="Weight bits of the merged form, 2 to 10; the plain form has 8.")
    ] = 8,
    activation_bits: Annotated[
        int, typer.Option(help="Activation bits of the merged form, 4 to 12.")
    ] = 8,
) -> None:
    """Turn a checkpoint into integers and show what each approximation costs."""
    if form == "merged":
        _quantize_merged(checkpoint, bits, activation_bits, json_file)
        return
    if form != "plain":
        raise UserError(f"There is no form {form}: give plain or merged.")
    if (bits, activation_bits) != (8, 8):
        raise UserError(
            "The widths of the plain form are fixed: leave them out, or add --form merged."
        )
    from gptloom.model.costs import approximation_costs
    from gptloom.model.loss import measurement_rows
    from gptloom.model.quantise import quantise

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
    console.print(_losses(model.metadata, costs.exact), _sites(costs))
    if json_file:
        console.print(f"Wrote {json_file}.")


def _quantize_merged(
    checkpoint: str, bits: int, activation_bits: int, json_file: Path | None
) -> None:
    from gptloom.model.float_model import FloatModel
    from gptloom.model.loss import measurement_rows
    from gptloom.model.merged.integer import Widths
    from gptloom.model.merged.quantise import quantise

    widths = Widths(weights=bits, activations=activation_bits)
    loaded = load_checkpoint(checkpoint)
    model = quantise(loaded, widths)
    exact = FloatModel(loaded.config, loaded.weights).loss(measurement_rows(loaded)[0])
    shifts = {
        f"{index}.{site}": shift
        for index, layer in enumerate(model.layers)
        for site, shift in layer.shifts.items()
    }
    sums = {
        f"{index}.{name}": width
        for index, widest in enumerate(model.bits())
        for name, width in widest.items()
    }
    if json_file:
        report = {"exact": exact, "widths": asdict(widths), "shifts": shifts, "sums": sums}
        write_json(json_file, {**model.metadata, "form": "merged", **report})
    console = Console()
    sites = Table("site", "shift")
    for site, shift in shifts.items():
        sites.add_row(site, str(shift))
    widest = Table("sum or product", "bits at most")
    for name, width in sums.items():
        widest.add_row(name, str(width))
    for table in (sites, widest):
        table.columns[1].justify = "right"
    console.print(
        f"merged form, {bits}-bit weights, {activation_bits}-bit activations",
        _losses(model.metadata, exact),
        sites,
        widest,
        sep="\n",
    )
    if json_file:
        console.print(f"Wrote {json_file}.")


def _losses(stated: dict, exact: float) -> Table:
    table = Table(f"{stated['checkpoint']} on {stated['loss_set']}", "nats per token")
    table.columns[1].justify = "right"
    table.add_row("floating point, the best of training", f"{stated['float_loss']:.4f}")
    table.add_row("floating point, these weights", f"{exact:.4f}")
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
