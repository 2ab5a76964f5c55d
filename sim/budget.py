"""The cycle budget of a token, measured in simulation and compared with its prediction."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from gptloom.firmware.image import build_image
from gptloom.firmware.isa import Destination, Kind
from gptloom.firmware.layout import Layout
from gptloom.firmware.machine import Machine
from gptloom.firmware.program import compile_program
from gptloom.firmware.schedule import Scheduled
from gptloom.firmware.timeline import EMBED, END, SAMPLE, SOFTMAX, Phase, timeline
from gptloom.hdl.folded.core import FoldedCore
from gptloom.hdl.folded.layouts import operation_field
from gptloom.model.integer import IntegerModel
from gptloom.sim.engines import Engine
from gptloom.sim.session import CoreSession

SIGNALS = ("control.start", "sequencer.issue", "o__valid")


@dataclass(frozen=True)
class Budget:
    """Cycles by phase at one position.

    Attributes
    ----------
    position
        Position of the token.
    predicted, measured
        Cycles by phase; a phase lasts until the next one's first multiplication.
    """

    position: int
    predicted: dict[str, int]
    measured: dict[str, int]


def predict(model: IntegerModel, machine: Machine) -> list[dict[str, int]]:
    """Return the predicted cycles by phase at every position."""
    schedule = compile_program(model, Layout(machine, model.config))
    positions = range(model.config.context)
    return [_by_phase(timeline(schedule, machine, position)) for position in positions]


def budgets(
    model: IntegerModel,
    machine: Machine,
    core: FoldedCore,
    engine: Engine,
    positions: Sequence[int] | None = None,
) -> Iterator[Budget]:
    """Yield the budget of positions.

    Parameters
    ----------
    model
        Model to run, with prompts that lead to each position.
    machine, core, engine
        The hardware and its simulation.
    positions
        Positions to measure; all by default.
    """
    schedule = compile_program(model, Layout(machine, model.config))
    image = build_image(model, machine)
    for position in range(model.config.context) if positions is None else positions:
        engine.reset()
        session = CoreSession(core, engine)
        session.load(image)
        session.temperature(model.logit_scale(1.0))
        engine.record(SIGNALS)
        # Any token will do but the one that ends documents.
        next(session.tokens([int(model.tokenizer.bos == 0)] * position))
        engine.step()
        measured = _measured(engine.recording(), schedule, machine)
        predicted = timeline(schedule, machine, position)
        yield Budget(position, _by_phase(predicted), _by_phase(measured))


def _measured(
    recording: dict[str, NDArray[np.uint64]], schedule: Sequence[Scheduled], machine: Machine
) -> list[Phase]:
    """Return the phases of the last token in a recording that ends with its emission."""
    end = int(np.flatnonzero(recording["o__valid"])[0])
    begun = int(np.flatnonzero(recording["control.start"][:end])[-1])
    issue = recording["sequencer.issue"][begun:end]
    offset, mask = operation_field(machine)
    numbers = issue >> np.uint64(offset) & np.uint64(mask)
    valid = (issue & np.uint64(1)) == 1
    phases = [Phase(EMBED, 0)]
    for i, scheduled in enumerate(schedule):
        cycles = np.flatnonzero(valid & (numbers == i))
        # The start of the residual stream is hidden in the softmax's time.
        if scheduled.instruction.destination is not Destination.RESIDUAL:
            phases.append(Phase(scheduled.step.site.phase, int(cycles[0])))
        if scheduled.instruction.kind is Kind.SCORES:
            phases.append(Phase(SOFTMAX, int(cycles[-1]) + 1))
    phases.append(Phase(SAMPLE, int(cycles[-1]) + 1))
    phases.append(Phase(END, end - begun))
    return phases


def _by_phase(phases: Sequence[Phase]) -> dict[str, int]:
    durations: Counter[str] = Counter()
    for phase, following in pairwise(phases):
        durations[phase.name] += following.start - phase.start
    return dict(durations)
