"""What a part holds of a model that writes text: weights, rows of the cache, and fewer of both."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import ceil

from gptloom.boards.memories import Ram, Shape, place_all
from gptloom.firmware.layout import Layout
from gptloom.firmware.machine import QUAD, Machine
from gptloom.hdl.folded.memories import DEEPEST
from gptloom.model.cache import Eviction
from gptloom.model.config import ModelConfig
from gptloom.model.errors import UserError
from gptloom.model.formats import PROFILES, Precision

LEAST_ROWS = 32
"""Fewest rows of a cache that are proposed."""


@dataclass(frozen=True)
class Operands:
    """Block RAMs of the operand memory.

    Attributes
    ----------
    weights, rows
        Share of the weights, and of the rows of the cache behind them: what they add.
    """

    weights: int
    rows: int

    @property
    def blocks(self) -> int:
        """All of them."""
        return self.weights + self.rows

    @classmethod
    def of(cls, machine: Machine, config: ModelConfig, rams: Iterable[Ram]) -> Operands:
        """Return those of a machine that runs a model."""
        weights, every = (
            _blocks(machine, words, rams)
            for words in (Layout(machine, config).weight_words, machine.operand_words)
        )
        return cls(weights, every - weights)


def _blocks(machine: Machine, words: int, rams: Iterable[Ram]) -> int:
    """Return the block RAMs of so many words, in banks as :class:`.OperandMemory` has them."""
    depths = (min(DEEPEST, words - begin) for begin in range(0, words, DEEPEST))
    banks = [Shape("", depth, machine.unit_bits, QUAD, 1, True, False) for depth in depths]
    return machine.units * place_all(banks, rams).blocks


@dataclass(frozen=True)
class Choice:
    """A cache and a profile that a model can have."""

    profile: str
    rows: int
    own_profile: bool
    own_rows: bool

    def __str__(self) -> str:
        """Options of a command."""
        options = [] if self.own_rows else [f"--rows {self.rows} --cache window"]
        return " ".join(options + ([] if self.own_profile else [f"--profile {self.profile}"]))


def choices(config: ModelConfig, precision: Precision) -> Iterator[tuple[Choice, ModelConfig]]:
    """Yield what a model could have instead of its cache and profile, most rows first."""
    named = sorted(PROFILES, key=lambda name: PROFILES[name] != precision)
    for halvings in range(ceil(config.context / LEAST_ROWS).bit_length()):
        rows = config.context >> halvings
        other = config if rows == config.context else config.with_cache(rows, Eviction.WINDOW)
        for name in named:
            kept = PROFILES[name] == precision, rows == config.context
            yield Choice(name, rows, *kept), other


def nearest(
    config: ModelConfig, precision: Precision, lanes: int, rams: Iterable[Ram], free: int
) -> Choice | None:
    """Return the first choice whose operands fit, if one does.

    Parameters
    ----------
    config, precision
        The model's.
    lanes
        Multipliers of the MAC array.
    rams
        Kinds of RAM cells of the part.
    free
        Block RAMs that other memories leave.
    """
    for choice, other in choices(config, precision):
        try:
            machine = Machine.for_models(lanes, other, precision=PROFILES[choice.profile])
        except UserError:
            continue
        if Operands.of(machine, other, rams).blocks <= free:
            return choice
    return None
