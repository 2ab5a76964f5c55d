"""Every watched signal of a simulated core, compared in every cycle with its expected value."""

from verification.scoreboard.bench import CheckedCore
from verification.scoreboard.expectation import Expectation
from verification.scoreboard.judge import Mismatch, first_mismatch
from verification.scoreboard.player import Habits, Player
from verification.scoreboard.reference import Reference

__all__ = [
    "CheckedCore",
    "Expectation",
    "Habits",
    "Mismatch",
    "Player",
    "Reference",
    "first_mismatch",
]
