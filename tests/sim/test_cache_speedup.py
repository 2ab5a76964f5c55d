"""Cycles with and without the KV cache; all tokens are checked against the golden model.

The unrolled core's share is in tests/cli/test_bench.py.
"""

from itertools import pairwise

import pytest

from gptloom.firmware.layout import Layout
from gptloom.firmware.machine import Machine
from gptloom.firmware.program import compile_program
from gptloom.firmware.timeline import timeline
from gptloom.model.checkpoint import load_checkpoint
from gptloom.model.golden import GoldenModel
from gptloom.model.quantise import quantise
from gptloom.sim.cache_speedup import PositionCycles, folded_speedup, mean_speedup
from gptloom.sim.engines import open_engine
from gptloom.sim.generation import MismatchError


@pytest.fixture(scope="module")
def model():
    return quantise(load_checkpoint("names"))


def test_the_mean_weighs_positions_by_their_cycles():
    rows = [PositionCycles(0, 10, 10), PositionCycles(1, 10, 50)]
    assert mean_speedup(rows) == 3


@pytest.mark.nightly
@pytest.mark.parametrize("lanes", [16, 64])
def test_a_cache_saves_the_same_work_for_every_earlier_position(model, lanes):
    machine = Machine.for_models(lanes, model.config)
    rows = folded_speedup(model, machine, open_engine)
    schedule = compile_program(model, Layout(machine, model.config))
    cached = [timeline(schedule, machine, position)[-1].start for position in range(16)]
    assert [row.cached for row in rows] == cached
    saved = [row.uncached - row.cached for row in rows]
    # Only the path through Recompute at the first position.
    assert saved[0] == 2
    steps = {after - before for before, after in pairwise(saved)}
    # Only a known token's keys and values are computed: far less than a whole token.
    assert len(steps) == 1
    assert steps.pop() < cached[0] / 2


@pytest.mark.nightly
def test_a_wrong_token_is_no_figure(model, monkeypatch):
    monkeypatch.setattr(
        GoldenModel,
        "generate",
        lambda self, *_: iter([type("Wrong", (), dict(token=-1, position=0, last=False))]),
    )
    with pytest.raises(MismatchError):
        folded_speedup(model, Machine.for_models(16, model.config), open_engine)
