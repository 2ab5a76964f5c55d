"""The points of a sweep: every combination of the options that makes a core for a board."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from gptloom.boards.board import Board
from gptloom.boards.explore.models import Models
from gptloom.boards.explore.point import FOLDED, UNROLLED, Point
from gptloom.boards.table import find_board
from gptloom.boards.unrolled import choice_for
from gptloom.model.arithmetic import WEIGHT_BITS
from gptloom.model.errors import UserError


@dataclass(frozen=True)
class Space:
    """The options of a sweep, each a list of values.

    Attributes
    ----------
    boards, cores, lanes, bits_per_cycle, positions
        Values of the attributes of :class:`Point`.
    bits
        Bits of a weight; empty for those that a checkpoint is made for.
    heads_per_cycle
        None for the part's usual number.
    checkpoints
        Names or files. None for ``names``, and for few bits the checkpoints made for them.
    seeds
        Seeds of placements; None for estimates.
    """

    boards: Sequence[str]
    cores: Sequence[str]
    lanes: Sequence[int]
    bits: Sequence[int]
    bits_per_cycle: Sequence[int]
    positions: Sequence[int]
    heads_per_cycle: Sequence[int | None] = (None,)
    checkpoints: Sequence[str | None] = (None,)
    seeds: Sequence[int | None] = (None,)

    def points(self, models: Models) -> tuple[list[Point], Counter[str]]:
        """Return all points, those of the folded core first, and the combinations left out.

        Parameters
        ----------
        models
            Reads the checkpoints.

        Returns
        -------
        points
            All points, each once.
        left_out
            Number of combinations left out, by reason.

        Raises
        ------
        UserError
            If a board or checkpoint does not exist.
        """
        boards = [find_board(name) for name in self.boards]
        points: list[Point] = []
        left_out: Counter[str] = Counter()
        for core, combine in ((FOLDED, self._folded), (UNROLLED, self._unrolled)):
            if core in self.cores:
                points += combine(boards, models, left_out)
        return list(dict.fromkeys(points)), left_out

    def _folded(self, boards: Sequence[Board], models: Models, left_out: Counter) -> list[Point]:
        if self.bits and WEIGHT_BITS not in self.bits:
            count = len(boards) * len(self.checkpoints) * len(self.lanes) * len(self.seeds)
            left_out[f"the folded core has {WEIGHT_BITS}-bit weights"] += count
            return []
        return [
            Point(
                board=board.name,
                core=FOLDED,
                checkpoint=name,
                digest=models.digest(name),
                bits=WEIGHT_BITS,
                lanes=lanes,
                seed=seed,
            )
            for board in boards
            for name in (checkpoint or "names" for checkpoint in self.checkpoints)
            for lanes, seed in product(self.lanes, self.seeds)
        ]

    def _unrolled(self, boards: Sequence[Board], models: Models, left_out: Counter) -> list[Point]:
        shapes = list(product(self.bits_per_cycle, self.positions, self.heads_per_cycle))
        points = []
        for board, (name, bits) in product(boards, self._merged(models)):
            try:
                usual = choice_for(board).shape
            except UserError as error:
                left_out[str(error)] += len(shapes) * len(self.seeds)
                continue
            for (bits_per_cycle, positions, heads), seed in product(shapes, self.seeds):
                # None means all heads; given as a number, they are the same point.
                at_once = heads or usual.heads_per_cycle or models.checkpoint(name).config.heads
                points.append(
                    Point(
                        board=board.name,
                        core=UNROLLED,
                        checkpoint=name,
                        digest=models.digest(name),
                        bits=bits,
                        bits_per_cycle=bits_per_cycle,
                        positions=positions,
                        heads_per_cycle=at_once,
                        seed=seed,
                    )
                )
        return points

    def _merged(self, models: Models) -> Iterator[tuple[str, int]]:
        """Yield the unrolled core's checkpoints and bits of weights."""
        for checkpoint in self.checkpoints:
            if checkpoint is None:
                yield from ((models.refined_for(bits), bits) for bits in self.bits or MERGED_BITS)
            else:
                usual = (models.widths(checkpoint).weights,)
                yield from ((checkpoint, bits) for bits in self.bits or usual)


MERGED_BITS = (4, 5, 6, 8)
"""Bits of a weight if neither bits nor checkpoint are given: all that shipped ones are made for."""
