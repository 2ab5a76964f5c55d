"""The whole core within a simulator: every watched signal in every cycle; simulators agree."""

from dataclasses import replace

import numpy as np
import pytest

from gptloom.firmware.machine import Machine
from gptloom.hdl.folded.core import FoldedCore
from gptloom.model.checkpoint import load_checkpoint
from gptloom.model.config import ModelConfig
from gptloom.model.quantise import quantise
from gptloom.sim.engines import open_engine
from gptloom.sim.scoreboard.player import Habits, Player
from gptloom.sim.scoreboard.signals import STIMULUS, Signals

# One process builds what all of them run.
pytestmark = pytest.mark.xdist_group("cocotb-core")

SMALL = ModelConfig(layers=2, width=8, heads=2, hidden=8, context=4, vocabulary=5)
ALL = Habits(0.2, 0.05, 0.005, 0.002, 0.002, 0.0005, 6)


@pytest.fixture
def make_case(monkeypatch, tmp_path, waves):
    monkeypatch.syspath_prepend(str(__file__).rpartition("/")[0])
    from case import Case

    def make(machine, model, habits, number, cycles, least):
        rows = tmp_path / "rows.npy"
        return Case(machine, model, habits, number, cycles, least, rows, waves.folder, waves.keep)

    return make


def recorded(case):
    """The same use of the core on the default engine.

    It is the compiled one: in Amaranth's own simulator a reset also zeroes what block RAM delivers,
    which it does neither in Verilog nor on a chip.
    """
    signals = Signals(case.machine)
    player = Player(case.machine, case.model, case.number, load=True)
    rows = len(np.load(case.rows))
    with open_engine(FoldedCore(case.machine)) as engine:
        for name in STIMULUS:
            engine.poke(name, 0)
        engine.record(signals.paths)
        for _ in range(rows):
            habits = Habits() if player.is_loading else case.habits
            for name, value in player.drive(habits).items():
                engine.poke(name, value)
            player.observe(engine.peek)
            engine.step()
        return engine.recorded_rows()


def check(cosimulate, case, simulator="verilator"):
    core = FoldedCore(case.machine)
    cosimulate(core, "bench_core", case, Signals(case.machine).paths, simulator)
    seen, other = np.load(case.rows), recorded(case)
    assert np.array_equal(seen, other)


def test_a_small_core(cosimulate, make_case, random_model, simulator):
    machine = Machine.for_models(16, SMALL)
    # The slower one takes part for as long as its first documents last.
    cycles, least = {"verilator": (2_000, 3), "icarus": (700, 1)}[simulator]
    case = make_case(machine, random_model(SMALL, 7, 1), ALL, 1, cycles, least)
    check(cosimulate, case, simulator)


def test_a_bench_fails_where_the_core_differs(cosimulate, make_case, random_model, tmp_path):
    machine, model = Machine.for_models(16, SMALL), random_model(SMALL, 7, 1)
    head = model.lm_head.copy()
    head[3, 5] ^= 1
    case = make_case(machine, model, Habits(), 1, 500, 1)
    case = replace(case, expected=replace(model, lm_head=head), waves=tmp_path)
    with pytest.raises(AssertionError, match=r"operands.words__3: layer 0, step logits"):
        cosimulate(FoldedCore(machine), "bench_core", case, Signals(machine).paths)
    assert list(tmp_path.glob("divergence-*.vcd"))


LONG = [
    ("names", 16, (ModelConfig.MICROGPT,)),
    ("names-24", 16, (ModelConfig.MICROGPT, ModelConfig.GATEGPT)),
    ("names-2l", 64, (ModelConfig.MICROGPT, ModelConfig.TWO_LAYER)),
    ("names", 8, (ModelConfig.MICROGPT,)),
]


@pytest.mark.long
@pytest.mark.parametrize(("name", "lanes", "configs"), LONG)
@pytest.mark.parametrize("number", [1, 2])
def test_shipped_models(cosimulate, make_case, name, lanes, configs, number):
    machine = Machine.for_models(lanes, *configs)
    habits = Habits(0.3, 0.05, 0.005, 0.001, 0.001, 0.0003 * (number - 1), 18)
    model = quantise(load_checkpoint(name))
    # The narrowest is also the slowest.
    check(cosimulate, make_case(machine, model, habits, number, 20_000, min(20, lanes)))
