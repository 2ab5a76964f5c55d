"""A core after synthesis, simulated with models of the part's cells, equals the core before."""

import re

import numpy as np
import pytest
import small_core
from case import NetlistCase
from netlists import as_verilog, synthesise_folded, synthesise_unrolled
from uses import SMALL, recorded

from gptloom.firmware.machine import Machine
from gptloom.hdl.folded.core import FoldedCore
from gptloom.hdl.unrolled.target import Target
from gptloom.model.formats import FINE
from gptloom.sim.engines.base import component_ports
from verification import cosim
from verification.llama import SHARED, make_loud
from verification.scoreboard.player import Habits
from verification.scoreboard.signals import STIMULUS

pytestmark = [
    pytest.mark.icarus,
    pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable"),
]
same_netlist = pytest.mark.xdist_group("ice40 netlist")
"""One process synthesises what two of them simulate."""

MACHINE = Machine.for_models(16, SMALL)
SOME = Habits(warm=0.01)


@pytest.fixture
def record():
    """Use a core at random on the default engine, and keep what its ports were."""

    def run(machine, model, habits, number, cycles, least):
        ports = component_ports(FoldedCore(machine)).items()
        outputs = {name: port.width for name, port in ports if not port.is_input}
        watched = [*STIMULUS, *outputs]
        rows, taken = recorded(machine, model, habits, number, cycles, watched)
        assert taken >= least
        given = len(STIMULUS)
        owners = tuple(name for name, width in outputs.items() for _ in range(-(-width // 64)))
        seen = rows[:, given:]
        judged = judged_tap(machine, seen, owners.index("tap"))
        return NetlistCase(tuple(STIMULUS), rows[:, :given], seen, owners, judged)

    return run


def judged_tap(machine, outputs, at):
    """Return the bits that are judged: all but those of scores in cycles in which there are none.

    A block RAM that is read where it is written may deliver anything, which nobody uses.
    """
    layout = FoldedCore(machine).signature.members["tap"].shape
    valid, scores = layout["score_valid"].offset, layout["scores"].offset
    judged = np.full_like(outputs, ~np.uint64(0))
    unused = outputs[:, at + valid // 64] >> np.uint64(valid % 64) & np.uint64(1) == 0
    for bit in range(scores, scores + layout["scores"].width):
        judged[unused, at + bit // 64] &= ~np.uint64(1 << bit % 64)
    return judged


@pytest.fixture(scope="module")
def netlist(tmp_path_factory):
    """Synthesise a core for a board, once: its netlist, and models of its cells."""
    made = {}

    def make(board, machine=MACHINE):
        if (board, machine) not in made:
            folder = tmp_path_factory.mktemp(board)
            made[board, machine] = as_verilog(*synthesise_folded(board, machine, folder))
        return made[board, machine]

    return make


def check(cosimulate, netlist, models, case, machine=MACHINE):
    outputs = list(dict.fromkeys(case.owners))
    text = cosim.with_bench(netlist, FoldedCore(machine), outputs) + models
    cosimulate(text, "bench_netlist", case, simulator="icarus")


@pytest.mark.parametrize(
    "board",
    [pytest.param("ice40-hx8k", marks=[same_netlist, pytest.mark.nightly]), "ulx3s-25f"],
)
def test_a_small_core(cosimulate, netlist, record, random_model, board):
    case = record(MACHINE, random_model(SMALL, 7, 1), SOME, 1, 1_500, 5)
    check(cosimulate, *netlist(board), case)


@pytest.mark.nightly
def test_a_small_core_of_the_llama_family(cosimulate, netlist, record):
    model = make_loud(SHARED, FINE, 3, 1)
    machine = Machine.for_model(32, model)
    case = record(machine, model, SOME, 1, 1_500, 3)
    check(cosimulate, *netlist("ulx3s-25f", machine), case, machine)


@pytest.mark.nightly
@same_netlist
def test_a_wrong_bit_in_a_lookup_table_is_found(cosimulate, netlist, record, random_model):
    text, models = netlist("ice40-hx8k")
    table = re.search(r"core\.mac_array\.sum_0.* = 16'h([0-9a-f]{4}) >> ", text)
    faulty = f"{int(table[1], 16) ^ 1:04x}"
    text = text[: table.start(1)] + faulty + text[table.end(1) :]
    case = record(MACHINE, random_model(SMALL, 7, 1), SOME, 1, 1_500, 5)
    with pytest.raises(AssertionError, match=r"cycle \d+: \["):
        check(cosimulate, text, models, case)


@pytest.mark.nightly
def test_a_small_unrolled_core(cosimulate, tmp_path):
    """Carry cells and multiplier cells, signed and not, which CXXRTL has no models of."""
    model, shape = small_core.random_model(), (2, 2, None)
    recorded = small_core.play(small_core.make_core(model, *shape), model, 400)
    assert recorded.tokens > 25
    core = small_core.make_core(model, *shape, Target.ecp5(small_core.CELLS))
    assert 0 < core.cells < core.factors
    netlist, models = as_verilog(*synthesise_unrolled("ulx3s-25f", core, tmp_path))
    inputs, outputs = small_core.INPUTS, small_core.OUTPUTS
    rows = [
        np.stack([recorded.signals[name] for name in names], axis=1) for names in (inputs, outputs)
    ]
    case = NetlistCase(inputs, *rows, outputs)
    text = cosim.with_bench(netlist, core, outputs) + models
    cosimulate(text, "bench_netlist", case, simulator="icarus")
