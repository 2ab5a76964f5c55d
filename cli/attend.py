"""``gptloom attend``: the attention of each token."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gptloom.cli.cores import (
    USUAL_LANES,
    CachePolicy,
    Lanes,
    Profile,
    Rows,
    Sinks,
    cache_options,
    load_plain,
    machine_of,
)
from gptloom.cli.generate import check_request
from gptloom.cli.line import Baud, open_conversation
from gptloom.cli.output import check_outputs, console_for, say
from gptloom.model.cache import Eviction
from gptloom.model.errors import UserError
from gptloom.model.family import Family
from gptloom.model.tokenizers.characters import Characters

if TYPE_CHECKING:
    from rich.console import Console

    from gptloom.boards.conversation import Conversation
    from gptloom.model.integer import IntegerModel
    from gptloom.sim.attention import Attended
    from gptloom.sim.generation import Request

_TOKENS = 16
"""Tokens of a text, if nobody says how many."""

END = "-"
"""Label of the token that begins and ends documents."""


def attend(
    prompt: Annotated[str, typer.Option(help="Start of the document.")] = "",
    count: Annotated[
        int, typer.Option(min=1, help="Documents; more than one only with --cache.")
    ] = 1,
    top: Annotated[
        int, typer.Option(min=0, help="Also list this many most attended tokens of each.")
    ] = 0,
    temperature: Annotated[float, typer.Option(help="0.1 to 2.0, or 0 for greedy.")] = 0.7,
    seed: Annotated[int, typer.Option(help="Seed of the hardware's random numbers.")] = 1,
    tokens: Annotated[
        int | None,
        typer.Option(min=1, help="Most tokens to write.", show_default="any; a text: 16"),
    ] = None,
    lanes: Lanes = None,
    profile: Profile = None,
    checkpoint: Annotated[
        str, typer.Option(help="A shipped checkpoint's name or a file.")
    ] = "names",
    cache: CachePolicy = None,
    rows: Rows = None,
    sinks: Sinks = None,
    engine: Annotated[str, typer.Option(help="auto, cxxrtl or pysim.")] = "auto",
    port: Annotated[
        str | None,
        typer.Option(
            help="Ask the chip at a serial port, e.g. /dev/ttyUSB0; or sim, a simulated chip.",
            show_default="simulate the core alone",
        ),
    ] = None,
    baud: Baud = 115_200,
    image: Annotated[
        Path | None, typer.Option(help="Image that this chip holds (gptloom image).")
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="Draw the maps into this PNG file.")] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the weights to this file.")
    ] = None,
) -> None:
    """Let hardware write a document, and map the attention of each of its tokens.

    Of a text, whose tokens are pieces, the last token's attention is shown. In simulation the
    weights are read from the hardware's tap, and every one is compared with the golden model's.
    With --port a chip reports them, for the tokens after the prompt.
    """
    check_outputs(picture, json_file)

    from gptloom.model.sampling import check_seed
    from gptloom.sim.cache_plot import check_extra
    from gptloom.sim.generation import Request

    if cache is Eviction.RECURRENT:
        raise UserError(
            "--cache recurrent has sums over all tokens, and does not know what each of them got: "
            "choose another cache"
        )
    if picture:
        check_extra()
    check_seed(seed)
    if port:
        if count > 1 or cache or rows or sinks is not None:
            raise UserError(
                "a chip that takes prompts writes one document and keeps all of it: leave --count, "
                "--cache, --rows and --sinks out"
            )
        lanes = USUAL_LANES[Family.MICROGPT] if lanes is None else lanes
        with open_conversation(port, baud, image, checkpoint, lanes) as chip:
            labels, attended = told(chip, prompt, temperature, seed)
    else:
        if image:
            raise UserError("an image says what a chip holds: give its --port as well")
        model = load_plain(checkpoint, cache_options(cache, rows, sinks), profile)
        if tokens is None and not isinstance(model.tokenizer, Characters):
            tokens = _TOKENS
        known = tuple(model.tokenizer.encode(prompt))
        request = Request(count, temperature, seed, known, tokens)
        labels, attended = simulated(model, request, lanes, engine)
    console = console_for(picture, json_file)
    show(console, labels, attended, top)
    save(console, image or checkpoint, labels, attended, json_file, picture)


def told(
    chip: Conversation, prompt: str, temperature: float, seed: int
) -> tuple[list[str], list[Attended]]:
    """Return the tokens that a chip reports, as text, and their attention."""
    from gptloom.sim.attention import Attended

    spoken = chip.watched(prompt, temperature, seed)
    labels = [END, *prompt, *(chip.character(token) or END for token in spoken)]
    return labels, [Attended.of(s.position, [*range(s.position + 1)], s.numerators) for s in spoken]


def simulated(
    model: IntegerModel, request: Request, lanes: int | None, engine: str
) -> tuple[list[str], list[Attended]]:
    """Return the same for a simulated core, compared with the golden model."""
    from rich.console import Console

    from gptloom.sim.attention import watch
    from gptloom.sim.engines import open_engine
    from gptloom.sim.generation import MismatchError

    check_request(model, request)
    if request.count > 1 and not model.config.endless:
        raise UserError("without --cache there is one document: leave --count out")
    machine = machine_of(model, lanes)
    try:
        with Console(stderr=True, highlight=False).status("Simulating") as status:
            simulate = partial(open_engine, kind=engine, progress=status.update)
            tokens, attended = watch(model, machine, simulate, request)
    except MismatchError as error:
        say("error", str(error))
        raise typer.Exit(1) from None
    labels = model.tokenizer.labels() | {model.tokenizer.bos: END}
    return [labels[token] for token in tokens], attended


def show(console: Console, labels: list[str], attended: list[Attended], top: int) -> None:
    """Print the maps, and the `top` positions that each token attended to most."""
    from gptloom.sim.attention import bars, heat_map

    def write(line: str) -> None:
        console.print(line, markup=False, emoji=False, soft_wrap=True)

    last = attended[-1]
    layers, heads, _ = last.weights.shape
    if max(map(len, labels)) > 1:
        seen = " ".join(repr(labels[p]) for p in last.seen)
        write(f"attention of {labels[last.position]!r}, token {last.position}, to {seen}\n")
        write(bars(last))
    else:
        for layer in range(layers):
            for head in range(heads):
                write(f"\nlayer {layer}, head {head}")
                write(heat_map(labels, attended, layer, head))
    for token in attended if top else ():
        best = ", ".join(f"{labels[p]} at {p} ({share:.0%})" for p, share in token.top(top))
        write(f"{token.position:4d} {labels[token.position]}: {best or 'not computed'}")


def save(
    console: Console,
    model: str | Path,
    labels: list[str],
    attended: list[Attended],
    json_file: Path | None,
    picture: Path | None,
) -> None:
    """Write numbers and maps to the files asked for."""
    from gptloom.model.files import write_file, write_json
    from gptloom.sim.attention import picture as draw

    if json_file:
        seen = [
            {"position": t.position, "seen": t.seen, "weights": t.weights.round(4).tolist()}
            for t in attended
        ]
        write_json(json_file, {"checkpoint": str(model), "tokens": labels, "attended": seen})
        console.print(f"Wrote {json_file}.")
    if picture:
        write_file(picture, draw(labels, attended))
        console.print(f"Wrote {picture}.")
