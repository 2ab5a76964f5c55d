"""Predicted against measured cycles, and the documented table against both."""

import re
from pathlib import Path

import pytest
from amaranth.back import rtlil

from gptloom.firmware.machine import Machine
from gptloom.firmware.resources import memory_bits
from gptloom.hdl.folded.core import FoldedCore
from gptloom.model.checkpoint import load_checkpoint
from gptloom.model.quantise import quantise
from gptloom.sim.budget import budgets
from gptloom.sim.engines import open_engine

DOCUMENT = Path(__file__).parents[2] / "docs" / "budget.md"


@pytest.mark.parametrize(
    ("checkpoint", "lanes"),
    [
        pytest.param("names", 8, marks=pytest.mark.nightly),
        pytest.param("names", 16, marks=pytest.mark.long),
        pytest.param("names", 32, marks=pytest.mark.nightly),
        pytest.param("names", 64, marks=pytest.mark.nightly),
        pytest.param("names-24", 16, marks=pytest.mark.nightly),
        pytest.param("names-2l", 64, marks=pytest.mark.nightly),
    ],
)
def test_the_schedule_predicts_every_phase_at_every_position(checkpoint, lanes):
    model = quantise(load_checkpoint(checkpoint))
    machine = Machine.for_models(lanes, model.config)
    core = FoldedCore(machine)
    with open_engine(core) as engine:
        measured = list(budgets(model, machine, core, engine))
    assert [b.position for b in measured] == list(range(model.config.context))
    for budget in measured:
        assert budget.measured == budget.predicted
    if checkpoint == "names":
        row = re.search(r"\| \*\*all\*\* \|(.*)\|\n\n## Cycles by position", DOCUMENT.read_text())
        column = row[1].split("|")[(8, 16, 32, 64).index(lanes)]
        total = sum(sum(b.measured.values()) for b in measured) / len(measured)
        assert float(column.split("/")[1]) == total, "run: gptloom budget --markdown docs/budget.md"


def test_multipliers_and_memory_bits_are_those_of_the_design(model):
    machine = Machine.for_models(16, model.config)
    text = rtlil.convert(FoldedCore(machine))
    memories = re.findall(r"memory width (\d+) size (\d+)", text)
    bits = sum(int(width) * int(size) for width, size in memories)
    # Function tables (exp2, rsqrt, reciprocal) are logic, not memories.
    assert bits == sum(memory_bits(machine).values())
