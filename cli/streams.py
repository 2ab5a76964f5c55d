"""`gptloom generate --core unrolled`: names from a pipeline of many documents at the same time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from gptloom.cli.simulated import Simulated

if TYPE_CHECKING:
    from gptloom.hdl.unrolled.core import UnrolledCore
    from gptloom.hdl.unrolled.shape import Shape
    from gptloom.model.merged.integer import MergedModel
    from gptloom.sim.engines import Engine
    from gptloom.sim.generation import Generation, Request


def prepare_streams(
    shape: Shape,
    model: MergedModel,
    request: Request,
    checkpoint: str,
    simulate: Callable[[UnrolledCore], Engine],
) -> Simulated:
    """Build an unrolled core's simulation.

    The first stream has the seed asked for, the others have the following ones.
    """
    from gptloom.model.merged.golden import GoldenModel, Stream
    from gptloom.sim.generation import CLOCK_MHZ
    from gptloom.sim.stream_waveform import SIGNALS, write_stream_waveform
    from gptloom.sim.streams import generate_streams

    known = tuple(GoldenModel(model).check_prompt(request.prompt))
    model.noise_scale(request.temperature)
    # Fewer streams than the pipeline holds are simulated as some of its streams.
    core = replace(shape, streams=None).make(model)
    count = shape.streams or core.streams
    if count > core.streams:
        core = shape.make(model)
    # A seed has 32 bits and is not 0.
    seeds = [(request.seed - 1 + n) % ((1 << 32) - 1) + 1 for n in range(count)]
    streams = [Stream(seed, request.temperature, known) for seed in seeds]
    engine = simulate(core)

    def describe(generation: Generation) -> tuple[dict, dict[str, str]]:
        one, together = generation.cycles_per_token, generation.cycles_per_token_of_all
        figures = {
            "streams_of_names": [stream for stream, _ in generation.documents],
            "tokens_of_streams": [generation.tokens_of[n] for n in range(count)],
            "cycles_per_token_of_all": round(together, 3),
            "aggregate_tokens_per_second": round(CLOCK_MHZ * 1e6 / together),
            "core": "unrolled",
            "streams": count,
            "interval": core.interval,
            "length": core.length,
            "weight_bits": model.widths.weights,
        }
        return figures, {
            "cycles/token of a stream, mean": f"{one:.1f}",
            "cycles/token of all streams": (
                f"{together:.2f} (a turn is {core.interval}, the pipeline {core.length} long)"
            ),
            f"tokens/s at {CLOCK_MHZ:g} MHz, one stream": f"{CLOCK_MHZ * 1e6 / one:,.0f}",
            f"tokens/s at {CLOCK_MHZ:g} MHz, all streams": f"{CLOCK_MHZ * 1e6 / together:,.0f}",
        }

    return Simulated(
        title=f"unrolled core, {count} streams of {core.streams}, {shape.bits_per_cycle} bits per "
        f"cycle, {model.widths.weights}-bit weights",
        model=model,
        checkpoint=checkpoint,
        engine=engine,
        generate=lambda tell: generate_streams(core, engine, model, streams, request.count, tell),
        describe=describe,
        signals=SIGNALS,
        write_wave=lambda wave: write_stream_waveform(wave, engine.recording(), core, model),
        comparison=", each stream run alone",
        parallel=True,
    )
