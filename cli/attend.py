"""``gptloom attend``: what each token looks at."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from gptloom.cli.cores import CachePolicy, Rows, Sinks, cache_options, load_plain
from gptloom.cli.generate import check_request
from gptloom.cli.output import check_folders, say
from gptloom.model.errors import UserError


def attend(
    prompt: Annotated[str, typer.Option(help="What the document starts with.")] = "",
    count: Annotated[
        int, typer.Option(min=1, help="Documents; more than one only with --cache.")
    ] = 1,
    top: Annotated[
        int, typer.Option(min=0, help="Also list so many most attended tokens of each.")
    ] = 0,
    temperature: Annotated[float, typer.Option(help="0.1 to 2.0, or 0 for greedy.")] = 0.7,
    seed: Annotated[int, typer.Option(help="Seed of the hardware's random numbers.")] = 1,
    lanes: Annotated[int, typer.Option(help="Multipliers of the hardware.")] = 16,
    checkpoint: Annotated[
        str, typer.Option(help="A shipped checkpoint's name or a file.")
    ] = "names",
    cache: CachePolicy = None,
    rows: Rows = None,
    sinks: Sinks = None,
    engine: Annotated[str, typer.Option(help="auto, cxxrtl or pysim.")] = "auto",
    picture: Annotated[Path | None, typer.Option(help="Draw the maps into this PNG file.")] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the weights to this file.")
    ] = None,
) -> None:
    """Let simulated hardware write a document, and map what each of its tokens attended.

    The weights are those that the hardware's tap shows, every one equal to the golden model's.
    """
    check_folders(picture, json_file)

    from rich.console import Console

    from gptloom.firmware.machine import Machine
    from gptloom.model.checkpoint import write_atomically, write_json
    from gptloom.model.sampling import check_seed
    from gptloom.sim.attention import heat_map, watch
    from gptloom.sim.attention import picture as draw
    from gptloom.sim.cache_plot import check_extra
    from gptloom.sim.engines import open_engine
    from gptloom.sim.generation import MismatchError, Request

    if picture:
        check_extra()
    model = load_plain(checkpoint, cache_options(cache, rows, sinks))
    request = Request(count, temperature, check_seed(seed), tuple(model.tokenizer.encode(prompt)))
    check_request(model, request)
    if count > 1 and not model.config.endless:
        raise UserError("without --cache there is one document: leave --count out")
    if model.config.recurrent:
        raise UserError(
            "--cache recurrent has sums over all tokens, and does not know what each of them got: "
            "choose another cache"
        )
    machine = Machine.for_models(lanes, model.config)
    console = Console(highlight=False)
    try:
        with Console(stderr=True, highlight=False).status("Simulating") as status:
            simulate = partial(open_engine, kind=engine, progress=status.update)
            tokens, attended = watch(model, machine, simulate, request)
    except MismatchError as error:
        say("error", str(error))
        raise typer.Exit(1) from None
    labels = [
        "-" if token == model.tokenizer.bos else model.tokenizer.decode([token]) for token in tokens
    ]
    for layer in range(model.config.layers):
        for head in range(model.config.heads):
            console.print(f"\nlayer {layer}, head {head}")
            console.print(heat_map(labels, attended, layer, head), markup=False, soft_wrap=True)
    for token in attended if top else ():
        best = ", ".join(f"{labels[p]} at {p} ({share:.0%})" for p, share in token.top(top))
        console.print(f"{token.position:4d} {labels[token.position]}: {best or 'not computed'}")
    if json_file:
        seen = [
            {"position": t.position, "seen": t.seen, "weights": t.weights.round(4).tolist()}
            for t in attended
        ]
        write_json(json_file, {"checkpoint": checkpoint, "tokens": labels, "attended": seen})
        console.print(f"Wrote {json_file}.")
    if picture:
        write_atomically(picture, draw(labels, attended))
        console.print(f"Wrote {picture}.")
