"""What synthesis makes of a core, simulated with models of the part's cells, does what it did."""

import pytest

from gptloom.firmware.machine import Machine
from gptloom.hdl.folded.core import FoldedCore
from gptloom.model.config import ModelConfig
from gptloom.sim import cosim
from gptloom.sim.engines import open_engine
from gptloom.sim.engines.base import component_ports
from gptloom.sim.scoreboard.player import Habits, Player
from gptloom.sim.scoreboard.signals import STIMULUS

SMALL = ModelConfig(layers=2, width=8, heads=2, hidden=8, context=4, vocabulary=5)
ALL = Habits(0.2, 0.05, 0.005, 0.002, 0.002, 0.0005, 6)
QUIET = Habits()


@pytest.fixture
def record(monkeypatch):
    """Use a core at random on the default engine, and keep what its ports were."""
    monkeypatch.syspath_prepend(str(__file__).rpartition("/")[0])
    from case import NetlistCase

    def run(machine, model, habits, number, cycles, least):
        core = FoldedCore(machine)
        outputs = {n: p.width for n, p in component_ports(core).items() if not p.is_input}
        player, played, taken = Player(machine, model, number, load=True), 0, 0
        with open_engine(core) as engine:
            for name in STIMULUS:
                engine.poke(name, 0)
            engine.record([*STIMULUS, *outputs])
            while player.is_loading or played < cycles:
                played += not player.is_loading
                for name, value in player.drive(QUIET if player.is_loading else habits).items():
                    engine.poke(name, value)
                taken += player.observe(engine.peek)
                engine.step()
            rows = engine.recorded_rows()
        assert taken >= least
        given = len(STIMULUS)
        owners = tuple(name for name, width in outputs.items() for _ in range(-(-width // 64)))
        return NetlistCase(tuple(STIMULUS), rows[:, :given], rows[:, given:], owners)

    return run


@pytest.fixture
def netlist(monkeypatch, tmp_path):
    """Synthesise a core for a board: its netlist, and models of its cells."""
    monkeypatch.syspath_prepend(str(__file__).rpartition("/")[0])
    from netlists import as_verilog, synthesise

    def make(board, machine):
        folder = tmp_path / board
        folder.mkdir()
        return as_verilog(*synthesise(board, machine, folder))

    return make


def check(cosimulate, machine, netlist, models, case):
    outputs = list(dict.fromkeys(case.owners))
    text = cosim.with_bench(netlist, FoldedCore(machine), outputs) + models
    cosimulate(text, "bench_netlist", case, simulator="icarus")


@pytest.mark.long
@pytest.mark.icarus
@pytest.mark.parametrize("board", ["ulx3s-25f"])
def test_a_small_core(cosimulate, netlist, record, random_model, board):
    machine = Machine.for_models(16, SMALL)
    case = record(machine, random_model(SMALL, 7, 1), ALL, 1, 700, 1)
    check(cosimulate, machine, *netlist(board, machine), case)
