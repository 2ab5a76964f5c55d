"""A core used at random on the default engine, to compare others with; tiers of simulators."""

import pytest

from gptloom.hdl.folded.core import FoldedCore
from gptloom.model.config import ModelConfig
from gptloom.sim.engines import open_engine
from verification.scoreboard.player import Habits, Player
from verification.scoreboard.signals import STIMULUS

SMALL = ModelConfig(layers=2, width=8, heads=2, hidden=8, context=4, vocabulary=5)


def slow_in_verilator(tier):
    """Mark a test that Verilator takes a minute to build; it has no fixture `simulator` then."""
    return pytest.mark.parametrize(
        "simulator",
        [pytest.param("verilator", marks=tier), pytest.param("icarus", marks=pytest.mark.icarus)],
    )


def recorded(machine, model, habits, number, cycles, watched):
    """Load a model, use the core for so many cycles; return signals by cycle, and tokens taken.

    The engine is the compiled one: in Amaranth's own simulator a reset also zeroes what block RAM
    delivers, which it does neither in Verilog nor on a chip.
    """
    player, played, taken = Player(machine, model, number, load=True), 0, 0
    with open_engine(FoldedCore(machine)) as engine:
        for name in STIMULUS:
            engine.poke(name, 0)
        engine.record(watched)
        while player.is_loading or played < cycles:
            habits_now = Habits() if player.is_loading else habits
            for name, value in player.drive(habits_now).items():
                engine.poke(name, value)
            taken += player.observe(engine.peek)
            played += not player.is_loading
            engine.step()
        return engine.recorded_rows(), taken
