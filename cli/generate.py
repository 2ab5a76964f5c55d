"""`gptloom generate`: names from simulated hardware, measured and compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gptloom.cli.cores import (
    Bits,
    BitsPerCycle,
    CachePolicy,
    Core,
    HeadsPerCycle,
    KeyBits,
    Lanes,
    PositionsPerCycle,
    Profile,
    Rows,
    Sinks,
    Slots,
    Streams,
    ValueBits,
    cache_options,
    load_merged,
    load_plain,
    machine_of,
    refuse_options,
    shape_options,
)
from gptloom.cli.output import check_outputs
from gptloom.cli.simulated import Simulated
from gptloom.model.errors import UserError
from gptloom.model.tokenizers.characters import Characters

if TYPE_CHECKING:
    from gptloom.firmware.machine import Machine
    from gptloom.hdl.folded.core import FoldedCore
    from gptloom.model.integer import IntegerModel
    from gptloom.sim.engines import Engine
    from gptloom.sim.generation import Generation, Request

_NAMES, _TEXTS = 20, 1
"""Documents, if nobody says how many: of single characters, and of pieces of text."""

_MOST_POSITIONS = 16
"""Positions in the table; of more, some are shown."""


def generate(
    count: Annotated[
        int | None,
        typer.Option(
            help="How many documents.", show_default="20 names or 1 text; with --tokens any"
        ),
    ] = None,
    tokens: Annotated[
        int | None,
        typer.Option(help="Folded: most tokens, after which a text is cut.", show_default="any"),
    ] = None,
    temperature: Annotated[float, typer.Option(help="0.1 to 2.0, or 0 for greedy.")] = 0.7,
    seed: Annotated[int, typer.Option(help="Seed of the hardware's random numbers.")] = 1,
    prompt: Annotated[str, typer.Option(help="Start of every document.")] = "",
    core: Annotated[Core, typer.Option(help="Core to simulate.")] = Core.FOLDED,
    lanes: Lanes = None,
    bits_per_cycle: BitsPerCycle = None,
    positions_per_cycle: PositionsPerCycle = None,
    heads_per_cycle: HeadsPerCycle = None,
    streams: Streams = None,
    cache: CachePolicy = None,
    rows: Rows = None,
    sinks: Sinks = None,
    slots: Slots = 0,
    bits: Bits = None,
    key_bits: KeyBits = None,
    value_bits: ValueBits = None,
    profile: Profile = None,
    checkpoint: Annotated[
        str, typer.Option(help="A shipped checkpoint's name or a file.")
    ] = "names",
    image: Annotated[
        Path | None, typer.Option(help="Load this image (gptloom image) of the same checkpoint.")
    ] = None,
    engine: Annotated[str, typer.Option(help="auto, cxxrtl or pysim.")] = "auto",
    wave: Annotated[Path | None, typer.Option(help="Write a waveform (VCD) to this file.")] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Save what is printed as a picture (SVG).")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the result to this file as JSON.")
    ] = None,
) -> None:
    """Simulate the transformer's hardware and print the names or the text that it generates.

    Every token is compared with the golden model's. The run ends with its cost: clock cycles,
    counted in the simulation of the whole core with sampling, and tokens/s at 80 MHz.
    """
    from rich.console import Console

    from gptloom.cli.streams import prepare_streams
    from gptloom.hdl.unrolled.shape import Shape
    from gptloom.model.sampling import check_seed
    from gptloom.sim.engines import open_engine
    from gptloom.sim.generation import Request, open_folded

    for number, what in ((count, "documents"), (tokens, "tokens")):
        if number is not None and number < 1:
            raise UserError(f"{number} {what} cannot be generated: ask for 1 or more")
    check_outputs(wave, picture, json_file)
    shape = shape_options(core, bits_per_cycle, positions_per_cycle, heads_per_cycle, streams)
    widths = {"--bits": bits, "--key-bits": key_bits, "--value-bits": value_bits}
    folded = {"--lanes": lanes, "--image": image, "--slots": slots or None}
    folded |= {"--tokens": tokens, "--profile": profile}
    refuse_options(core, {Core.FOLDED: folded, Core.UNROLLED: widths})
    policy = cache_options(cache, rows, sinks)
    check_seed(seed)
    if core is Core.UNROLLED:
        model = load_merged(checkpoint, bits, key_bits, value_bits, policy)
    else:
        model = load_plain(checkpoint, policy, profile)
    known = tuple(model.tokenizer.encode(prompt))
    request = Request(_documents(model, count, tokens), temperature, seed, known, tokens)
    with Console(stderr=True, highlight=False).status("Building the simulation") as status:
        simulate = partial(open_engine, kind=engine, progress=status.update)
        simulate_folded = partial(open_folded, simulate=simulate)

        if core is Core.UNROLLED:
            ready = prepare_streams(Shape(**shape), model, request, checkpoint, simulate)
        else:
            check_request(model, request)
            machine = machine_of(model, lanes, slots)
            ready = prepare(machine, model, request, checkpoint, image, simulate_folded)
    ready.run(wave, picture, json_file)


def _documents(model, count: int | None, tokens: int | None) -> int:
    """Return the number of documents; each has a token or more."""
    if count is not None:
        return count
    if not isinstance(model.tokenizer, Characters) and not model.config.endless:
        return _TEXTS
    return tokens or _NAMES


def some_positions(positions: Sequence[int]) -> Sequence[int]:
    """Return positions that show how cycles grow: all, or of many the first and last of 64 each."""
    if len(positions) <= _MOST_POSITIONS:
        return positions
    ends = (positions[0], positions[-1])
    return [p for p in positions if p in ends or p % 64 == 63]


def check_request(model, request: Request) -> None:
    """Refuse a prompt or a temperature before anything is built."""
    from gptloom.model.golden import GoldenModel

    GoldenModel(model).check_prompt(request.prompt)
    model.logit_scale(request.temperature)


def prepare(
    machine: Machine,
    model: IntegerModel,
    request: Request,
    checkpoint: str,
    file: Path | None,
    simulate: Callable[[FoldedCore], Engine],
) -> Simulated:
    """Build a folded core's simulation, with the image in a file if there is one.

    Raises
    ------
    UserError
        If the image in the file is not the checkpoint's.
    """
    from gptloom.firmware.image import Image, build_image
    from gptloom.firmware.layout import Layout
    from gptloom.firmware.program import compile_program
    from gptloom.sim.generation import CLOCK_MHZ, Generator
    from gptloom.sim.waveform import signals, write_waveform

    image = build_image(model, machine)
    if file:
        loaded = Image.read(file)
        loaded.check_fits(machine)
        if loaded != image:
            raise UserError(
                f"{file} was not made from the checkpoint {checkpoint}, so its text cannot be "
                "checked: give that checkpoint, or make the image anew with 'gptloom image'"
            )
    generator = Generator(model, machine, simulate, image)
    engine = generator.engine

    def describe(generation: Generation) -> tuple[dict, dict[str, str]]:
        cycles = generation.cycles_per_token
        by_position = {p: round(c, 3) for p, c in generation.mean_by_position().items()}
        told = [f"{p}: {by_position[p]:g}" for p in some_positions(list(by_position))]
        reading = generation.cycles_per_prompt_token
        figures = {
            "cycles_by_position": by_position,
            "cycles_per_prompt_token": reading and round(reading, 3),
            "core": "folded",
            "lanes": machine.lanes,
        }
        rows = {
            "cycles/token, mean": f"{cycles:.1f}",
            "cycles/token by position": "\n".join(
                "  ".join(told[i : i + 5]) for i in range(0, len(told), 5)
            ),
        }
        if reading:
            rows["cycles/token of the prompt"] = f"{reading:.1f}"
        return figures, rows | {
            f"tokens/s at {CLOCK_MHZ:g} MHz": f"{CLOCK_MHZ * 1e6 / cycles:,.0f}"
        }

    def write_wave(wave: Path) -> str:
        schedule = compile_program(model, Layout(machine, model.config))
        return write_waveform(wave, engine.recording(), model, schedule, machine)

    return Simulated(
        title=f"folded core, {machine.lanes} lanes, {model.config.parameters:,} weights",
        model=model,
        checkpoint=checkpoint,
        engine=engine,
        generate=partial(generator.run, request),
        describe=describe,
        signals=signals(machine),
        write_wave=write_wave,
    )
