"""What synthesis makes of a core, simulated with models of the part's cells, does what it did."""

import re

import pytest

from gptloom.firmware.machine import Machine
from gptloom.hdl.folded.core import FoldedCore
from gptloom.model.config import ModelConfig
from gptloom.sim import cosim
from gptloom.sim.engines import open_engine
from gptloom.sim.engines.base import component_ports
from gptloom.sim.scoreboard.player import Habits, Player
from gptloom.sim.scoreboard.signals import STIMULUS

# One process synthesises what all of them simulate.
pytestmark = [
    pytest.mark.icarus,
    pytest.mark.xdist_group("netlists"),
    pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable"),
]

SMALL = ModelConfig(layers=2, width=8, heads=2, hidden=8, context=4, vocabulary=5)
MACHINE = Machine.for_models(16, SMALL)
SOME = Habits(warm=0.01)


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
                for name, value in player.drive(Habits() if player.is_loading else habits).items():
                    engine.poke(name, value)
                taken += player.observe(engine.peek)
                engine.step()
            rows = engine.recorded_rows()
        assert taken >= least
        given = len(STIMULUS)
        owners = tuple(name for name, width in outputs.items() for _ in range(-(-width // 64)))
        return NetlistCase(tuple(STIMULUS), rows[:, :given], rows[:, given:], owners)

    return run


@pytest.fixture(scope="module")
def netlist(tmp_path_factory):
    """Synthesise the small core for a board, once: its netlist, and models of its cells."""
    made = {}

    def make(board):
        if board not in made:
            with pytest.MonkeyPatch.context() as patch:
                patch.syspath_prepend(str(__file__).rpartition("/")[0])
                from netlists import as_verilog, synthesise

                folder = tmp_path_factory.mktemp(board)
                made[board] = as_verilog(*synthesise(board, MACHINE, folder))
        return made[board]

    return make


def check(cosimulate, netlist, models, case):
    outputs = list(dict.fromkeys(case.owners))
    text = cosim.with_bench(netlist, FoldedCore(MACHINE), outputs) + models
    cosimulate(text, "bench_netlist", case, simulator="icarus")


@pytest.mark.parametrize("board", ["ulx3s-25f", "ice40-hx8k"])
def test_a_small_core(cosimulate, netlist, record, random_model, board):
    case = record(MACHINE, random_model(SMALL, 7, 1), SOME, 1, 1_500, 5)
    check(cosimulate, *netlist(board), case)


def test_a_wrong_bit_in_a_lookup_table_is_found(cosimulate, netlist, record, random_model):
    text, models = netlist("ice40-hx8k")
    table = re.search(r"core\.engine\.sum_0.* = 16'h([0-9a-f]{4}) >> ", text)
    faulty = f"{int(table[1], 16) ^ 1:04x}"
    text = text[: table.start(1)] + faulty + text[table.end(1) :]
    case = record(MACHINE, random_model(SMALL, 7, 1), SOME, 1, 1_500, 5)
    with pytest.raises(AssertionError, match=r"cycle \d+: \["):
        check(cosimulate, text, models, case)
