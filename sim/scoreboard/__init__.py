"""Every watched signal of a simulated core, compared in every cycle with what it has to be."""

from gptloom.sim.scoreboard.bench import CheckedCore
from gptloom.sim.scoreboard.expectation import Expectation
from gptloom.sim.scoreboard.judge import Mismatch, first_mismatch
from gptloom.sim.scoreboard.player import Habits, Player
from gptloom.sim.scoreboard.reference import Reference

__all__ = [
    "CheckedCore",
    "Expectation",
    "Habits",
    "Mismatch",
    "Player",
    "Reference",
    "first_mismatch",
]
