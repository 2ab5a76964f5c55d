"""``gptloom quantize``: a checkpoint in integers, and the cost of each approximation."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from gptloom.cli.cores import Profile, precision_of
from gptloom.cli.output import check_outputs, console_for, say
from gptloom.model.checkpoint import Checkpoint, load_checkpoint
from gptloom.model.errors import UserError
from gptloom.model.family import Family
from gptloom.model.files import write_json
from gptloom.model.formats import USUAL_PROFILE, CacheScale

if TYPE_CHECKING:
    from gptloom.model.costs import Costs
    from gptloom.model.diagnosis import Diagnosis
    from gptloom.model.integer import IntegerModel

_COST_DOCUMENTS, _COST_TOKENS = 8, 201
"""Measurement rows, and tokens of each, for the costs of a model of the Llama family."""


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
        int | None,
        typer.Option(
            help="Weight bits of the merged form, 2 to 10; the plain form has 8.",
            show_default="what the checkpoint was refined for, or 8",
        ),
    ] = None,
    activation_bits: Annotated[
        int | None, typer.Option(help="Activation bits of the merged form, 4 to 12.")
    ] = None,
    key_bits: Annotated[
        int | None, typer.Option(min=4, max=8, help="Bits of cached keys, merged form.")
    ] = None,
    value_bits: Annotated[
        int | None, typer.Option(min=4, max=8, help="Bits of cached values, merged form.")
    ] = None,
    cache_scale: Annotated[
        CacheScale | None, typer.Option(help="Part of keys and values that has a scale of its own.")
    ] = None,
    accept: Annotated[
        bool, typer.Option("--accept", help="Take narrow keys and values, whatever they change.")
    ] = False,
    profile: Profile = None,
) -> None:
    """Turn a checkpoint into integers and show the cost of each approximation.

    With keys or values of less than 8 bits, also show how they change the model's predictions, and
    refuse them, with exit code 1, if that is too much.
    """
    check_outputs(json_file)
    options = {
        "weights": bits,
        "activations": activation_bits,
        "keys": key_bits,
        "values": value_bits,
        "cache_scale": cache_scale,
    }
    given = {name: value for name, value in options.items() if value is not None}
    if form == "merged":
        _quantize_merged(checkpoint, given, accept, json_file)
        return
    if form != "plain":
        raise UserError(f"There is no form {form}: give plain or merged.")
    loaded = load_checkpoint(checkpoint)
    if loaded.config.family is Family.LLAMA and not (given or accept):
        _quantize_llama(loaded, profile, json_file)
        return
    precision_of(loaded.config.family, profile)
    if given or accept:
        raise UserError(
            "The widths of the plain form are fixed: leave them out, or add --form merged."
        )
    from gptloom.model.loss import measurement_rows
    from gptloom.model.quantise import quantise

    model = quantise(loaded)
    costs = _costs(loaded, model, measurement_rows(loaded)[0])
    if json_file:
        report = {**model.metadata, **asdict(costs)}
        write_json(json_file, report)
    console = console_for(json_file)
    console.print(_losses(model.metadata, costs.exact), _sites(costs))
    if json_file:
        console.print(f"Wrote {json_file}.")


def _costs(loaded: Checkpoint, model: "IntegerModel", rows) -> "Costs":
    """Return the cost of every approximation, and show progress meanwhile."""
    from gptloom.model.costs import approximation_costs

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("measuring")
        return approximation_costs(
            loaded, model, rows, lambda done, of: progress.update(task, completed=done, total=of)
        )


def _quantize_llama(loaded: Checkpoint, profile: str | None, json_file: Path | None) -> None:
    from gptloom.cli.quantised import quantised
    from gptloom.model.loss import measurement_rows

    model = quantised(loaded, profile)
    stated = model.metadata
    # A hundred approximations are measured on these.
    rows = measurement_rows(loaded)[0][:_COST_DOCUMENTS, :_COST_TOKENS]
    costs = _costs(loaded, model, rows)
    if json_file:
        write_json(json_file, {"profile": profile or USUAL_PROFILE, **stated, **asdict(costs)})
    console = console_for(json_file)
    console.print(_losses(stated, stated["float_loss"]), _sites(costs, "0.0001 nats of KL", 2))
    if json_file:
        console.print(f"Wrote {json_file}.")


def _quantize_merged(
    checkpoint: str, given: Mapping[str, object], accept: bool, json_file: Path | None
) -> None:
    from gptloom.model.diagnosis import diagnose
    from gptloom.model.float_model import FloatModel
    from gptloom.model.loss import measurement_rows
    from gptloom.model.merged.golden import GoldenModel
    from gptloom.model.merged.quantise import quantise, refined_widths

    loaded = load_checkpoint(checkpoint)
    widths = replace(refined_widths(loaded), **given)
    model = quantise(loaded, widths)
    rows, _ = measurement_rows(loaded)
    exact = FloatModel(loaded.config, loaded.weights).loss(rows)
    usual, diagnosis = replace(widths, keys=8, values=8, cache_scale=CacheScale.ELEMENT), None
    if widths != usual:
        reference = GoldenModel(quantise(loaded, usual))
        diagnosis = diagnose(reference, GoldenModel(model), rows, model.tokenizer.bos)
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
        if diagnosis:
            report["diagnosis"] = {**asdict(diagnosis), "faults": diagnosis.faults()}
        write_json(json_file, {**model.metadata, "form": "merged", **report})
    console = console_for(json_file)
    sites = Table("site", "shift")
    for site, shift in shifts.items():
        sites.add_row(site, str(shift))
    widest = Table("sum or product", "bits at most")
    for name, width in sums.items():
        widest.add_row(name, str(width))
    for table in (sites, widest):
        table.columns[1].justify = "right"
    console.print(
        f"merged form, {widths.weights}-bit weights, {widths.activations}-bit activations, "
        f"{widths.keys}-bit keys, {widths.values}-bit values",
        _losses(model.metadata, exact),
        sites,
        widest,
        sep="\n",
    )
    if diagnosis:
        console.print(*_changes(diagnosis), sep="\n")
    if json_file:
        console.print(f"Wrote {json_file}.")
    if diagnosis and diagnosis.faults() and not accept:
        say(
            "error",
            f"{widths.keys}-bit keys and {widths.values}-bit values make another model of it: "
            f"{'; '.join(diagnosis.faults())}. Give more bits, refine the checkpoint for them "
            "(gptloom refine), or --accept this",
        )
        raise typer.Exit(1)


def _changes(diagnosis: "Diagnosis") -> list[Table]:
    """Return tables of the changes by narrow keys and values: in total, by position, by head."""
    whole = Table("against 8-bit keys and values", "")
    for name, value in {
        "loss, nats per token": f"{diagnosis.loss - diagnosis.reference_loss:+.4f}",
        "divergence of predictions (KL), nats": f"{diagnosis.kl:.4f}",
        "divergence of the first 3 characters (KL), nats": f"{diagnosis.first_kl:.4f}",
        "total variation of the first 3 characters": f"{diagnosis.first_variation:.3f}",
        "same likeliest token": f"{diagnosis.agreement:.1%}",
        "verdict": "; ".join(diagnosis.faults()) or "the same model, within limits",
    }.items():
        whole.add_row(name, value)
    positions = Table("position", "loss", "KL", "same likeliest")
    for p in diagnosis.positions:
        rise = f"{p.loss - p.reference_loss:+.4f}"
        positions.add_row(str(p.position), rise, f"{p.kl:.4f}", f"{p.agreement:.1%}")
    heads = Table("layer", "head", "attention moved", "mix not explained")
    for h in diagnosis.heads:
        heads.add_row(str(h.layer), str(h.head), f"{h.attention:.1%}", f"{h.mix:.2%}")
    for table in (positions, heads):
        for column in table.columns:
            column.justify = "right"
    return [whole, positions, heads]


def _losses(stated: dict, exact: float) -> Table:
    table = Table(f"{stated['checkpoint']} on {stated['loss_set']}", "nats per token")
    table.columns[1].justify = "right"
    table.add_row("floating point, the best of training", f"{stated['float_loss']:.4f}")
    table.add_row("floating point, these weights", f"{exact:.4f}")
    table.add_row("integers", f"{stated['integer_loss']:.4f}")
    difference = stated["integer_loss"] - stated["float_loss"]
    table.add_row("integers - best floating point", f"{difference:+.4f}", style="bold")
    table.add_section()
    table.add_row("divergence of predictions (KL), nats", f"{stated['kl']:.4f}")
    table.add_row("total variation", f"{stated['variation']:.3f}")
    table.add_row("same likeliest token", f"{stated['agreement']:.1%}")
    return table


def _sites(costs: "Costs", unit: str = "0.0001 nats", digits: int = 1) -> Table:
    table = Table("approximation", "bits", "shift", unit)
    for column in table.columns[1:]:
        column.justify = "right"

    def shown(nats: float) -> str:
        return f"{1e4 * nats:+.{digits}f}"

    for kind, together in costs.together.items():
        if kind == "all":
            continue
        for cost in costs.sites:
            if cost.kind == kind:
                shift = "" if cost.shift is None else str(cost.shift)
                table.add_row(f"  {cost.site}", str(cost.bits), shift, shown(cost.nats))
        table.add_row(f"{kind} together", "", "", shown(together), style="bold")
        table.add_section()
    table.add_row("everything, against these weights", "", "", shown(costs.together["all"]))
    return table
