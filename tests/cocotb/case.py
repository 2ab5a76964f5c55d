"""Cases for the benches within the simulator."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gptloom.firmware.machine import Machine
from gptloom.model.integer import IntegerModel
from verification.scoreboard.player import Habits


@dataclass(frozen=True)
class Case:
    """A core, its model, and how it is used.

    `rows` is where the recording is left, `waves` the folder for waveforms, of everything with
    `keep`; `expected` is the model that is expected, if that is not the one that is loaded.
    """

    machine: Machine
    model: IntegerModel
    habits: Habits
    number: int
    cycles: int
    least: int
    rows: Path
    waves: Path
    keep: bool = False
    expected: IntegerModel | None = None


@dataclass(frozen=True)
class NetlistCase:
    """Inputs of a design by cycle, and its outputs.

    `outputs` is in columns of 64 bits, each of the port in `owners`. Nobody reads bits that are 0
    in `judged`, if there is one.
    """

    inputs: tuple[str, ...]
    stimulus: NDArray[np.uint64]
    outputs: NDArray[np.uint64]
    owners: tuple[str, ...]
    judged: NDArray[np.uint64] | None = None


@dataclass(frozen=True)
class TopCase:
    """A chip with a model from power-on: when its pins are used, and the line that names it."""

    machine: Machine
    model: IntegerModel
    label: str
    cycles: int
    cycles_per_bit: int
    clock_hz: int
    bounce_cycles: int
    waves: Path
    keep: bool
    asks: tuple[int, ...]
    presses: tuple[int, ...]


@dataclass(frozen=True)
class AbuseCase:
    """Name of an abuse of a small chip, and the two models that it holds in turn."""

    model: IntegerModel
    other: IntegerModel
    abuse: str
