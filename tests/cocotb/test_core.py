"""The whole core within a simulator: every watched signal in every cycle; simulators agree."""

from dataclasses import replace

import numpy as np
import pytest
from case import Case
from uses import SMALL, recorded, slow_in_verilator

from gptloom.firmware.machine import Machine
from gptloom.hdl.folded.core import FoldedCore
from gptloom.model.checkpoint import load_checkpoint
from gptloom.model.config import ModelConfig
from gptloom.model.formats import FINE
from gptloom.model.quantise import quantise
from verification.llama import SHARED, make_loud
from verification.scoreboard.player import Habits
from verification.scoreboard.signals import Signals

# One process builds what all of them run.
pytestmark = pytest.mark.xdist_group("cocotb-core")

ALL = Habits(0.2, 0.05, 0.005, 0.002, 0.002, 0.0005, 6)


@pytest.fixture
def make_case(tmp_path, waves):
    def make(machine, model, habits, number, cycles, least):
        rows = tmp_path / "rows.npy"
        return Case(machine, model, habits, number, cycles, least, rows, waves.folder, waves.keep)

    return make


def check(cosimulate, case, simulator="verilator"):
    core = FoldedCore(case.machine)
    cosimulate(core, "bench_core", case, Signals(case.machine).paths, simulator)
    use = case.machine, case.model, case.habits, case.number, case.cycles
    other, _ = recorded(*use, Signals(case.machine).paths)
    assert np.array_equal(np.load(case.rows), other)


@slow_in_verilator(pytest.mark.long)
def test_a_small_core(cosimulate, make_case, random_model, simulator):
    machine = Machine.for_models(16, SMALL)
    # The slower one takes part for as long as its first documents last.
    cycles, least = {"verilator": (2_000, 3), "icarus": (700, 1)}[simulator]
    case = make_case(machine, random_model(SMALL, 7, 1), ALL, 1, cycles, least)
    check(cosimulate, case, simulator)


@pytest.mark.nightly
def test_a_small_core_of_the_llama_family(cosimulate, make_case):
    model = make_loud(SHARED, FINE, 3, 1)
    case = make_case(Machine.for_model(32, model), model, ALL, 1, 2_000, 3)
    check(cosimulate, case)


@pytest.mark.long
def test_a_bench_fails_where_the_core_differs(cosimulate, make_case, random_model, tmp_path):
    machine, model = Machine.for_models(16, SMALL), random_model(SMALL, 7, 1)
    head = model.weights["lm_head"].copy()
    head[3, 5] ^= 1
    case = make_case(machine, model, Habits(), 1, 500, 1)
    case = replace(
        case, expected=replace(model, weights=model.weights | {"lm_head": head}), waves=tmp_path
    )
    with pytest.raises(AssertionError, match=r"operands.words__3: layer 0, step logits"):
        cosimulate(FoldedCore(machine), "bench_core", case, Signals(machine).paths)
    assert list(tmp_path.glob("divergence-*.vcd"))


# They take the same blocks as the small core, for longer.
SHIPPED = [
    ("names", 16, (ModelConfig.MICROGPT,)),
    ("names-24", 16, (ModelConfig.MICROGPT, ModelConfig.GATEGPT)),
    ("names-2l", 64, (ModelConfig.MICROGPT, ModelConfig.TWO_LAYER)),
    ("names", 8, (ModelConfig.MICROGPT,)),
]


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("name", "lanes", "configs", "number"),
    [(*case, number) for case in SHIPPED for number in (1, 2)],
)
def test_shipped_models(cosimulate, make_case, name, lanes, configs, number):
    machine = Machine.for_models(lanes, *configs)
    habits = Habits(0.3, 0.05, 0.005, 0.001, 0.001, 0.0003 * (number - 1), 18)
    model = quantise(load_checkpoint(name))
    # Resets and long prompts leave few tokens, how few depends on the draws.
    check(cosimulate, make_case(machine, model, habits, number, 20_000, 5))
