"""Tokens per second of one model in software, one document after another, on one core."""

from __future__ import annotations

import importlib.util
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sized
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

from gptloom.model.checkpoint import Checkpoint
from gptloom.model.errors import UserError
from gptloom.model.golden import GoldenModel
from gptloom.model.loss import measurement_rows
from gptloom.model.positions import Positions
from gptloom.model.quantise import quantise
from gptloom.sim.baseline.compiled import CompiledModel
from gptloom.sim.baseline.eager import EagerModel
from gptloom.sim.engines.compilers import find_compiler

TEMPERATURE = 0.7
REPETITIONS = 15

Sample = Callable[[int, int], Sized]
"""Called with a seed and a least number of tokens; returns the tokens sampled."""


@dataclass(frozen=True)
class SoftwareSpeed:
    """Speed of one program.

    Attributes
    ----------
    name
        Name of the program.
    made_with
        Compiler or library, with its version.
    tokens_per_second
        Tokens/s of the best repetition in CPU time; None if it could not be measured.
    wall_tokens_per_second
        Tokens/s of the best repetition in wall-clock time; less if other programs ran as well.
    loss
        Held-out loss, in nats per token.
    missing
        Reason why it could not be measured, and what to do.
    """

    name: str
    made_with: str = ""
    tokens_per_second: int | None = None
    wall_tokens_per_second: int | None = None
    loss: float | None = None
    missing: str = ""


def best_of(sample: Sample, least: int, repetitions: int = REPETITIONS) -> tuple[int, int]:
    """Return tokens per second of CPU time and of wall-clock time, each of its best repetition.

    Disturbances, such as other programs or a lower clock, make a repetition slower, never faster.
    """
    found = []
    for seed in range(1, repetitions + 1):
        begun, worked = time.perf_counter_ns(), time.process_time_ns()
        count = len(sample(seed, least))
        worked, took = time.process_time_ns() - worked, time.perf_counter_ns() - begun
        found.append((count * 1e9 / worked, count * 1e9 / took))
    return round(max(cpu for cpu, _ in found)), round(max(wall for _, wall in found))


def measure_software(checkpoint: Checkpoint) -> Iterator[SoftwareSpeed]:
    """Yield each program's speed on this machine, or the reason why it was not measured."""
    yield _compiled(checkpoint)
    yield _eager(checkpoint)
    yield _golden(checkpoint)


def _compiled(checkpoint: Checkpoint) -> SoftwareSpeed:
    speed = SoftwareSpeed("C, float32")
    compiler = find_compiler()
    if compiler is None:
        return replace(speed, missing="no C compiler: run pip install 'gptloom[zig]'")
    try:
        model = CompiledModel(checkpoint, compiler)
    except UserError as error:
        return replace(speed, missing=str(error))

    def sample(seed: int, least: int) -> Sized:
        return model.generate(seed, TEMPERATURE, least)

    version = compiler.version.splitlines()[0]
    made_with = f"zig {version}" if compiler.is_zig else version
    loss = model.loss(measurement_rows(checkpoint)[0])
    return SoftwareSpeed(speed.name, made_with, *best_of(sample, 500_000), loss)


def _eager(checkpoint: Checkpoint) -> SoftwareSpeed:
    speed = SoftwareSpeed("PyTorch, eager, float32")
    if importlib.util.find_spec("torch") is None:
        return replace(speed, missing="PyTorch is missing: run pip install 'gptloom[train]'")
    if checkpoint.config.positions is not Positions.LEARNED:
        return replace(speed, missing="it has learned positions only: give another checkpoint")
    import torch

    model = EagerModel(checkpoint)

    def sample(seed: int, least: int) -> Sized:
        return model.generate(seed, TEMPERATURE, least)

    loss = checkpoint.metadata["heldout"]["loss"]
    return SoftwareSpeed(speed.name, f"PyTorch {torch.__version__}", *best_of(sample, 500), loss)


def _golden(checkpoint: Checkpoint) -> SoftwareSpeed:
    model = quantise(checkpoint)

    def sample(seed: int, least: int) -> Sized:
        return list(islice(GoldenModel(model).generate(seed, TEMPERATURE), least))

    return SoftwareSpeed(
        "golden model, NumPy, integers",
        f"NumPy {np.__version__}, Python {platform.python_version()}",
        *best_of(sample, 500),
        model.metadata["integer_loss"],
    )


def cpu_name() -> str:
    """Return the operating system's name for this machine's processor."""
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
