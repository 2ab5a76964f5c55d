"""`gptloom generate --core unrolled`: names out of a pipeline, many documents at the same time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from gptloom.cli.output import cache_row, say, show_figures

if TYPE_CHECKING:
    from gptloom.hdl.unrolled.core import UnrolledCore
    from gptloom.hdl.unrolled.shape import Shape
    from gptloom.model.merged.golden import Stream
    from gptloom.model.merged.integer import MergedModel
    from gptloom.sim.engines import Engine
    from gptloom.sim.streams import StreamGeneration


def generate_streams(
    shape: Shape,
    count: int,
    stream: Stream,
    prompt: str,
    checkpoint: str,
    model: MergedModel,
    engine: str,
    wave: Path | None,
    picture: Path | None,
    json_file: Path | None,
) -> None:
    """Simulate the unrolled core and print the names that it generates.

    Parameters
    ----------
    shape
        Of the hardware.
    count
        Names of all streams together.
    stream
        What the first stream is made with, but for the prompt; the others have the seeds that
        follow.
    prompt
        What every name starts with.
    checkpoint
        Its name.
    model
        Quantised from it.
    engine, wave, picture, json_file
        See :func:`.generate.generate`.
    """
    from rich.console import Console

    from gptloom.model.checkpoint import write_atomically, write_json
    from gptloom.model.merged.golden import GoldenModel, Stream
    from gptloom.sim.engines import open_engine
    from gptloom.sim.generation import MismatchError
    from gptloom.sim.stream_waveform import SIGNALS, write_stream_waveform
    from gptloom.sim.streams import generate_streams as run

    console = Console(highlight=False, record=picture is not None)
    notices = Console(stderr=True, highlight=False)
    known = tuple(GoldenModel(model).check_prompt(model.tokenizer.encode(prompt)))
    model.noise_scale(stream.temperature)
    with notices.status("Building the simulation") as status:
        # Fewer than the pipeline holds are some of its streams.
        core = replace(shape, streams=None).make(model)
        count_of_streams = shape.streams or core.streams
        if count_of_streams > core.streams:
            core = shape.make(model)
        # A seed has 32 bits and is not 0.
        seeds = [(stream.seed - 1 + n) % ((1 << 32) - 1) + 1 for n in range(count_of_streams)]
        streams = [Stream(seed, stream.temperature, known) for seed in seeds]
        simulation = open_engine(core, engine, progress=status.update)
    if simulation.name == "pysim":
        notices.print(f"[yellow]Simulating with {simulation.description}: slow.")
    console.print(
        f"[dim]unrolled core, {len(streams)} streams of {core.streams}, "
        f"{shape.bits_per_cycle} bits per cycle, {model.widths.weights}-bit weights, "
        f"simulated by {simulation.description}[/]"
    )
    if wave:
        simulation.record(SIGNALS)
    try:
        generation = run(
            core,
            simulation,
            model,
            streams,
            count,
            lambda _, document: console.print(model.tokenizer.decode(document)),
        )
    except MismatchError as error:
        say("error", str(error))
        raise typer.Exit(1) from None
    report = Report(model, core, simulation, len(streams), generation, checkpoint)
    report.print(console)
    if wave:
        opened = write_stream_waveform(wave, simulation.recording(), core, model)
        console.print(opened, soft_wrap=True)
    if picture:
        write_atomically(picture, console.export_svg(title="gptloom generate").encode())
    if json_file:
        write_json(json_file, report.as_dict())


@dataclass
class Report:
    """The figures of one run, for the terminal and as JSON."""

    model: MergedModel
    core: UnrolledCore
    engine: Engine
    streams: int
    generation: StreamGeneration
    checkpoint: str

    def as_dict(self) -> dict:
        """Return the figures under the names of the documented JSON object."""
        from gptloom.sim.generation import CLOCK_MHZ

        model, generation = self.model, self.generation
        return {
            "names": [model.tokenizer.decode(name) for _, name in generation.documents],
            "streams_of_names": [stream for stream, _ in generation.documents],
            "tokens": generation.tokens,
            "tokens_of_streams": generation.tokens_of,
            "cache": generation.cache,
            "cycles": generation.cycles,
            "cycles_per_token": round(generation.cycles_per_token, 3),
            "cycles_per_token_of_all": round(generation.cycles_per_token_of_all, 3),
            "mhz": CLOCK_MHZ,
            "tokens_per_second": round(CLOCK_MHZ * 1e6 / generation.cycles_per_token),
            "aggregate_tokens_per_second": round(
                CLOCK_MHZ * 1e6 / generation.cycles_per_token_of_all
            ),
            "engine": self.engine.name,
            "core": "unrolled",
            "streams": self.streams,
            "interval": self.core.interval,
            "length": self.core.length,
            "checkpoint": self.checkpoint,
            "weight_bits": model.widths.weights,
            "float_loss": model.metadata["float_loss"],
            "integer_loss": model.metadata["integer_loss"],
            # A difference would have ended the run.
            "equal_to_golden": True,
        }

    def print(self, console) -> None:
        """Print the table that ends a run."""
        from gptloom.model.loss import loss_label

        figures, model = self.as_dict(), self.model
        mhz = f"{figures['mhz']:g} MHz"
        rows = {
            "tokens": f"{figures['tokens']:,}",
            "cycles": f"{figures['cycles']:,}",
            "cycles/token of a stream, mean": f"{figures['cycles_per_token']:.1f}",
            "cycles/token of all streams": (
                f"{figures['cycles_per_token_of_all']:.2f} "
                f"(a turn is {self.core.interval}, the pipeline {self.core.length} long)"
            ),
            f"tokens/s at {mhz}, one stream": f"{figures['tokens_per_second']:,}",
            f"tokens/s at {mhz}, all streams": f"{figures['aggregate_tokens_per_second']:,}",
            loss_label(model.metadata["loss_set"]): (
                f"{figures['integer_loss']:.4f} (float {figures['float_loss']:.4f})"
            ),
            "equal to the golden model": (
                f"yes, all {figures['tokens']:,} tokens, each stream run alone"
            ),
        } | cache_row(figures["cache"])
        console.print()
        show_figures(console, rows)
