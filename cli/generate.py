"""`gptloom generate`: names out of simulated hardware, measured and compared."""

from __future__ import annotations

from dataclasses import dataclass
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
    Positions,
    Rows,
    Sinks,
    Slots,
    Streams,
    ValueBits,
    cache_options,
    load_merged,
    load_plain,
    refuse_options,
    shape_options,
)
from gptloom.cli.output import cache_row, check_folders, say, show_figures
from gptloom.model.errors import UserError

if TYPE_CHECKING:
    from gptloom.sim.generation import Generation, Generator, Request


def generate(
    count: Annotated[int, typer.Option(help="How many names.")] = 20,
    temperature: Annotated[float, typer.Option(help="0.1 to 2.0, or 0 for greedy.")] = 0.7,
    seed: Annotated[int, typer.Option(help="Seed of the hardware's random numbers.")] = 1,
    prompt: Annotated[str, typer.Option(help="What every name starts with.")] = "",
    core: Annotated[Core, typer.Option(help="Which core is simulated.")] = Core.FOLDED,
    lanes: Annotated[
        int | None, typer.Option(help="Folded: multipliers, 8, 16, 32 or 64.", show_default="16")
    ] = None,
    bits_per_cycle: BitsPerCycle = None,
    positions: Positions = None,
    heads_per_cycle: HeadsPerCycle = None,
    streams: Streams = None,
    cache: CachePolicy = None,
    rows: Rows = None,
    sinks: Sinks = None,
    slots: Slots = 0,
    bits: Bits = None,
    key_bits: KeyBits = None,
    value_bits: ValueBits = None,
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
    """Simulate the transformer's hardware and print the names it generates.

    Every token is compared with the golden model's. Ends with what it cost: clock cycles, counted
    in the simulation of the whole core with sampling, and tokens/s at 80 MHz.
    """
    from rich.console import Console

    from gptloom.firmware.image import Image, build_image
    from gptloom.firmware.machine import Machine
    from gptloom.model.checkpoint import write_atomically, write_json
    from gptloom.model.sampling import check_seed
    from gptloom.sim.engines import open_engine
    from gptloom.sim.generation import Generator, MismatchError, Request

    if count < 1:
        raise UserError(f"{count} names cannot be generated: ask for 1 or more")
    check_folders(wave, picture, json_file)
    shape = shape_options(core, bits_per_cycle, positions, heads_per_cycle, streams)
    widths = {"--bits": bits, "--key-bits": key_bits, "--value-bits": value_bits}
    folded = {"--lanes": lanes, "--image": image, "--slots": slots or None}
    refuse_options(core, {Core.FOLDED: folded, Core.UNROLLED: widths})
    policy = cache_options(cache, rows, sinks)
    if core is Core.UNROLLED:
        from gptloom.cli.streams import generate_streams
        from gptloom.hdl.unrolled.shape import Shape
        from gptloom.model.merged.golden import Stream

        first = Stream(check_seed(seed), temperature)
        model = load_merged(checkpoint, bits, key_bits, value_bits, policy)
        outputs = (wave, picture, json_file)
        generate_streams(Shape(**shape), count, first, prompt, checkpoint, model, engine, *outputs)
        return
    lanes = 16 if lanes is None else lanes
    console = Console(highlight=False, record=picture is not None)
    notices = Console(stderr=True, highlight=False)
    with notices.status("Quantising the checkpoint"):
        model = load_plain(checkpoint, policy)
    tokens = tuple(model.tokenizer.encode(prompt))
    request = Request(count, temperature, check_seed(seed), tokens)
    check_request(model, request)
    machine = Machine.for_models(lanes, model.config, slots=slots)
    loaded = build_image(model, machine)
    if image:
        loaded = Image.read(image)
        loaded.check_fits(machine)
        if loaded != build_image(model, machine):
            raise UserError(
                f"{image} was not made from the checkpoint {checkpoint}, so its names cannot be "
                "checked: give that checkpoint, or make the image anew with 'gptloom image'"
            )
    with notices.status("Building the simulation") as status:
        generator = Generator(
            model,
            machine,
            lambda core: open_engine(core, engine, progress=status.update),
            loaded,
        )
    simulation = generator.engine
    if simulation.name == "pysim":
        notices.print(f"[yellow]Simulating with {simulation.description}: slow.")
    if wave:
        from gptloom.sim.waveform import signals

        simulation.record(signals(machine))
    console.print(
        f"[dim]folded core, {lanes} lanes, {model.config.parameters:,} weights, "
        f"simulated by {simulation.description}[/]"
    )
    try:
        generation = generator.run(
            request, lambda document: console.print(model.tokenizer.decode(document))
        )
    except MismatchError as error:
        say("error", str(error))
        raise typer.Exit(1) from None
    result = Report(generator, request, generation, checkpoint)
    result.print(console)
    if picture:
        title = "gptloom generate"
        write_atomically(picture, console.export_svg(title=title).encode())
    if json_file:
        write_json(json_file, result.as_dict())
    if wave:
        _write_wave(wave, generator, console)


def check_request(model, request: Request) -> None:
    """Refuse a prompt or a temperature before anything is built."""
    from gptloom.model.golden import GoldenModel

    GoldenModel(model).check_prompt(request.prompt)
    model.logit_scale(request.temperature)


def _write_wave(path: Path, generator: Generator, console) -> None:
    from gptloom.firmware.layout import Layout
    from gptloom.firmware.program import compile_program
    from gptloom.sim.waveform import write_waveform

    model = generator.model
    slots = compile_program(model, Layout(generator.machine, model.config))
    console.print(write_waveform(path, generator.engine.recording(), model, slots), soft_wrap=True)


@dataclass
class Report:
    """The figures of one run, for the terminal and as JSON."""

    generator: Generator
    request: Request
    generation: Generation
    checkpoint: str

    def as_dict(self) -> dict:
        """Return the figures under the names of the documented JSON object."""
        from gptloom.sim.generation import CLOCK_MHZ

        model, generation = self.generator.model, self.generation
        cycles = generation.cycles_per_token
        return {
            "names": [model.tokenizer.decode(name) for name in generation.names],
            "tokens": generation.tokens,
            "cache": generation.cache,
            "cycles": generation.cycles,
            "cycles_per_token": round(cycles, 3),
            "cycles_by_position": {
                p: round(c, 3) for p, c in generation.mean_by_position().items()
            },
            "mhz": CLOCK_MHZ,
            "tokens_per_second": round(CLOCK_MHZ * 1e6 / cycles),
            "engine": self.generator.engine.name,
            "core": "folded",
            "lanes": self.generator.machine.lanes,
            "checkpoint": self.checkpoint,
            "float_loss": model.metadata["float_loss"],
            "integer_loss": model.metadata["integer_loss"],
            # A difference would have ended the run.
            "equal_to_golden": True,
        }

    def print(self, console) -> None:
        """Print the table that ends a run."""
        from gptloom.model.loss import loss_label

        figures, model = self.as_dict(), self.generator.model
        positions = [f"{p}: {c:g}" for p, c in figures["cycles_by_position"].items()]
        by_position = "\n".join(
            "  ".join(positions[i : i + 5]) for i in range(0, len(positions), 5)
        )
        rows = {
            "tokens": f"{figures['tokens']:,}",
            "cycles": f"{figures['cycles']:,}",
            "cycles/token, mean": f"{figures['cycles_per_token']:.1f}",
            "cycles/token by position": by_position,
            f"tokens/s at {figures['mhz']:g} MHz": f"{figures['tokens_per_second']:,}",
            loss_label(model.metadata["loss_set"]): (
                f"{figures['integer_loss']:.4f} (float {figures['float_loss']:.4f})"
            ),
            "equal to the golden model": f"yes, all {figures['tokens']:,} tokens",
        } | cache_row(figures["cache"])
        console.print()
        show_figures(console, rows)
