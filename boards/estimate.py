"""Estimate of a build, before anyone waits for it: size, cycles/token, tokens/s, and fit.

Multipliers, block RAM and cycles are exact; lookup tables and flip-flops come from a model fitted
on synthesised designs (:mod:`.calibration`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

from gptloom.boards.board import Board
from gptloom.boards.contents import placeholder
from gptloom.boards.design import make_top, multipliers
from gptloom.boards.holding import Operands, nearest
from gptloom.boards.memories import Placed, Shape, find_memories, place_all
from gptloom.boards.size import SizeModel, kind, terms
from gptloom.boards.table import BOARDS
from gptloom.firmware.image import build_image
from gptloom.firmware.layout import Layout
from gptloom.firmware.machine import LANES, LEAST_LANES, Machine
from gptloom.firmware.page import TEMPERATURES, writes_text
from gptloom.firmware.program import compile_program
from gptloom.firmware.resources import inferred_multipliers
from gptloom.firmware.timeline import timeline
from gptloom.hdl.multipliers import FabricMultiplier
from gptloom.model.errors import UserError
from gptloom.model.family import Family
from gptloom.model.integer import IntegerModel
from gptloom.model.recurrent import golden_of

NAMES = 200
TEMPERATURE = TEMPERATURES[0]
SEED = 1
"""Documents that are sampled from the golden model to know how often each position occurs: those
that a build's cycles are counted over."""

TEXT_POSITIONS = 200
"""Positions of a text, from 0 on, whose mean is its speed: a place further on costs more cycles."""

NEXT_DOCUMENT = 1
"""Cycles before a document's first token, in which the core takes the token from its input."""

CLOCK_HZ = 80e6
"""Clock of the top whose memories are examined: they are the same at any clock."""

ROUTABLE = 0.99
"""Share of a part's logic that place-and-route can be expected to use: 98.4 % of a UP5K and 98.2 %
of an HX8K were routed."""

ESTIMATED = {
    Family.MICROGPT: tuple(lanes for lanes in LANES if lanes <= 64),
    Family.LLAMA: tuple(lanes for lanes in LANES if lanes >= LEAST_LANES[Family.LLAMA]),
}
"""Lanes that builds were made of, which the coefficients are fitted to."""

LOGIC, OTHERS = ("lut", "ff"), ("dsp", "bram")
RESOURCES = {"lut": "LUT", "ff": "FF", "dsp": "DSP", "bram": "BRAM"}
"""Displayed names of a part's resources."""


@dataclass(frozen=True)
class Needs:
    """Resources and cycles that a core on a board needs, and the resources available.

    Attributes
    ----------
    board
        Its entry in the table.
    used, available
        Numbers by the names of ``RESOURCES``.
    cycles_per_token
        Mean over whole documents, sampling and end tokens included; for a single stream.
    clock_hz
        Frequency of the PLL; only place-and-route shows whether the design reaches it.
    """

    board: Board
    used: Mapping[str, int]
    available: Mapping[str, int]
    cycles_per_token: float
    clock_hz: float

    @property
    def tokens_per_second(self) -> int:
        """Tokens/s at the PLL's clock."""
        return round(self.clock_hz / self.cycles_per_token)

    @property
    def lacking(self) -> tuple[str, ...]:
        """Resources that do not suffice."""
        return lacking(self.used, self.available)

    @property
    def fits(self) -> bool:
        """Whether the part can be expected to hold the design."""
        return not self.lacking

    def as_dict(self) -> dict:
        """Return the figures under the names that a build's report has."""
        return {
            "board": self.board.name,
            "device": self.board.part,
            **self.used,
            "available": dict(self.available),
            "fits": self.fits,
            "cycles_per_token": round(self.cycles_per_token, 2),
            "constraint_mhz": round(self.clock_hz / 1e6, 3),
            "tokens_per_second": self.tokens_per_second,
        }


def lacking(used: Mapping[str, int], available: Mapping[str, int]) -> tuple[str, ...]:
    """Return the resources that do not suffice; both mappings use the names of ``RESOURCES``."""
    limits = dict.fromkeys(LOGIC, ROUTABLE) | dict.fromkeys(OTHERS, 1.0)
    return tuple(name for name, limit in limits.items() if used[name] > limit * available[name])


@dataclass(frozen=True)
class Estimate(Needs):
    """One folded core on one board.

    Attributes
    ----------
    lanes
        Multipliers of the MAC array.
    """

    lanes: int

    def as_dict(self) -> dict:
        """Return the figures under the names that a build's report has."""
        return {**super().as_dict(), "core": "folded", "lanes": self.lanes}


class Estimator:
    """Estimates for one model.

    Parameters
    ----------
    model
        Model that the core is to run.
    sizes
        The fitted model of lookup tables and flip-flops.
    """

    def __init__(self, model: IntegerModel, sizes: SizeModel):
        self.model, self._sizes = model, sizes
        self._placed: dict[tuple, Placed] = {}
        # The same on all boards, so computed once for every width.
        self._cycles = cache(lambda machine: mean_cycles(model, machine, self._positions))

    @cached_property
    def _positions(self) -> Counter[int]:
        if writes_text(self.model):
            return Counter(range(min(TEXT_POSITIONS, self.model.config.context)))
        return sampled_positions(self.model)

    def estimate(self, board: Board, lanes: int, mhz: float | None = None) -> Estimate:
        """Return the estimate of a core with this many lanes on a board.

        Parameters
        ----------
        board
            Its entry in the table.
        lanes
            Multipliers of the MAC array.
        mhz
            Clock frequency, if not the entry's own.

        Raises
        ------
        UserError
            If the width cannot be built at all, or not for this model.
        """
        clock_hz = board.pll(mhz).hz
        machine = Machine.for_model(lanes, self.model)
        used = self.used(board, machine)
        return Estimate(board, used, board.capacity, self._cycles(machine), clock_hz, lanes)

    def used(self, board: Board, machine: Machine) -> dict[str, int]:
        """Return the resources that a machine takes in a board's part, named as in ``RESOURCES``.

        Raises
        ------
        UserError
            If the machine cannot hold the model, or no such core was fitted on the board's family.
        """
        if self._kind(board) not in self._sizes.coefficients:
            raise UserError(
                f"{board.name} has a part of the family {board.family.name}, of which none holds a "
                f"model of the family {self.model.config.family}: choose an ECP5 board"
            )
        # Many boards give the same result.
        same = machine, board.family.name, board.framed, board.shows
        if same not in self._placed:
            self._placed[same] = placed_memories(self.model, machine, board)
        placed = self._placed[same]
        counts = terms(machine, fabric(board, machine), placed)
        return {
            **self._sizes.size(self._kind(board), counts),
            "dsp": cells(board, machine),
            "bram": placed.blocks,
        }

    def widths(self, board: Board, mhz: float | None = None) -> Iterator[Estimate]:
        """Yield the estimates of all widths for the model, widest first.

        Raises
        ------
        UserError
            If no folded core has the model's shape, or the PLL cannot make the clock.
        """
        for lanes in sorted(ESTIMATED[self.model.config.family], reverse=True):
            yield self.estimate(board, lanes, mhz)

    def choose(self, board: Board, lanes: int | None = None, mhz: float | None = None) -> Estimate:
        """Return the estimate of a width, or of the largest one that fits.

        Raises
        ------
        UserError
            If it does not fit, with the largest width that does and the boards that hold this one.
        """
        wanted = None if lanes is None else self.estimate(board, lanes, mhz)
        if wanted and wanted.fits:
            return wanted
        widest = self._widest(board, mhz)
        if wanted is None and widest.fits:
            return widest
        refused = wanted or widest
        others = [e.board.name for e in self.everywhere(refused.lanes) if e.fits]
        raise UserError(_refusal(refused, widest, others) + self._held(refused))

    def _held(self, refused: Estimate) -> str:
        """Return what the part would hold of a model whose operands are too many."""
        machine = Machine.for_model(refused.lanes, self.model)
        if not machine.gated or "bram" not in refused.lacking:
            return ""
        config, rams = self.model.config, refused.board.family.rams
        operands = Operands.of(machine, config, rams)
        others = refused.used["bram"] - operands.blocks
        free = refused.available["bram"] - others
        choice = nearest(config, self.model.precision, refused.lanes, rams, free)
        advice = f"choose {choice}" if choice else "no fewer rows or bits are enough for this part"
        return (
            f". Weights take {operands.weights} block RAMs, {config.context} rows of the cache "
            f"{operands.rows}, and all else {others}: {advice}"
        )

    def _widest(self, board: Board, mhz: float | None) -> Estimate:
        """Return the widest estimate that fits, or the narrowest if none does."""
        for estimate in self.widths(board, mhz):
            if estimate.fits:
                break
        return estimate

    def everywhere(self, lanes: int) -> list[Estimate]:
        """Return the estimates of one width on all boards that have any, at their usual clocks."""
        fitted = [b for b in BOARDS.values() if self._kind(b) in self._sizes.coefficients]
        return [self.estimate(board, lanes) for board in fitted]

    def _kind(self, board: Board) -> str:
        return kind(board.family.name, self.model.config.family)


def _refusal(refused: Estimate, widest: Estimate, others: Sequence[str]) -> str:
    lanes, board, used, available = refused.lanes, refused.board, refused.used, refused.available
    needs = " and ".join(
        f"{used[name]:,} of {available[name]:,} {RESOURCES[name]}" for name in refused.lacking
    )
    if all(used[name] <= available[name] for name in refused.lacking):
        needs += f", of which {ROUTABLE:.0%} can be routed"
    fewer = f"{widest.lanes} lanes are the most that do" if widest.fits else "nor do fewer"
    elsewhere = f"{lanes} lanes fit {', '.join(others)}" if others else f"no board holds {lanes}"
    return f"{lanes} lanes do not fit {board.name}, they take about {needs}: {fewer}; {elsewhere}"


def cells(board: Board, machine: Machine) -> int:
    """Return the number of the part's multipliers that a machine takes."""
    others = inferred_multipliers(machine) if board.capacity["dsp"] else 0
    return machine.lanes - fabric(board, machine) + others


def fabric(board: Board, machine: Machine) -> int:
    """Return the number of lanes that multiply in lookup tables."""
    return sum(kind is FabricMultiplier for kind in multipliers(board, machine))


def memories(model: IntegerModel, machine: Machine, board: Board) -> list[Shape]:
    """Return all memories of a board's top."""
    image = build_image(model, machine)
    return find_memories(make_top(board, image, machine, placeholder(image, machine), CLOCK_HZ))


def placed_memories(model: IntegerModel, machine: Machine, board: Board) -> Placed:
    """Return the cells that the memories of a board's top take in its part."""
    return place_all(memories(model, machine, board), board.family.rams)


def sampled_positions(model: IntegerModel) -> Counter[int]:
    """Return how many tokens of sampled documents are computed at each position."""
    positions: Counter[int] = Counter()
    tokens = golden_of(model).generate(SEED, TEMPERATURE)
    for _ in range(NAMES):
        for token in tokens:
            positions[token.position] += 1
            if token.last:
                break
    return positions


def mean_cycles(model: IntegerModel, machine: Machine, positions: Mapping[int, int]) -> float:
    """Return the mean cycles of a token, end tokens included.

    Parameters
    ----------
    model
        Model to run.
    machine
        Machine that runs it.
    positions
        Number of tokens at each position.
    """
    schedule = compile_program(model, Layout(machine, model.config))
    cycles = sum(
        count * timeline(schedule, machine, position)[-1].start
        for position, count in positions.items()
    )
    return (cycles + NEXT_DOCUMENT * positions[0]) / sum(positions.values())
