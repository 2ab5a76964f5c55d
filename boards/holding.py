"""What a part holds of a model that writes text: weights, rows of the cache, and fewer of both."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import ceil

from gptloom.boards.memories import Ram, Shape, place_all
from gptloom.firmware.layout import Layout
from gptloom.firmware.machine import QUAD, Machine
from gptloom.hdl.folded.memories import bank_depths
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
    banks = [
        Shape("", depth, machine.unit_bits, QUAD, in_blocks=True, collisions=False)
        for depth in bank_depths(words)
    ]
    return machine.units * place_all(banks, rams).blocks


@dataclass(frozen=True)
class Choice:
    """A cache and a profile that a model can have, and the options of a command that choose them.

    Options that would ask for what the model has are left out.
    """

    profile: str
    rows: int
    options: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join(self.options)


def choices(config: ModelConfig, precision: Precision) -> Iterator[tuple[Choice, ModelConfig]]:
    """Yield what a model could have instead of its cache and profile, most rows first."""
    named = sorted(PROFILES, key=lambda name: PROFILES[name] != precision)
    for halvings in range(ceil(config.context / LEAST_ROWS).bit_length()):
        rows = config.context >> halvings
        other, options = config, ()
        if rows != config.context:
            other = config.with_cache(rows, Eviction.WINDOW)
            options = (f"--rows {rows} --cache {other.eviction}",)
        for name in named:
            profile = () if PROFILES[name] == precision else (f"--profile {name}",)
            yield Choice(name, rows, options + profile), other


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
