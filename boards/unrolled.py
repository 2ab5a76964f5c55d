"""The unrolled core on a board: the largest one for each part, and its top."""

from __future__ import annotations

from dataclasses import dataclass

from gptloom.boards.board import Board
from gptloom.boards.checks import Required
from gptloom.boards.displays import find_display
from gptloom.firmware.page import TEMPERATURES, THOUSANDS, make_page
from gptloom.hdl.top import BAUD, Top
from gptloom.hdl.uart import baud_divider
from gptloom.hdl.unrolled.chorus import Chorus
from gptloom.hdl.unrolled.core import UnrolledCore
from gptloom.hdl.unrolled.shape import Shape
from gptloom.hdl.unrolled.target import Target
from gptloom.model.errors import UserError
from gptloom.model.merged.integer import MergedModel
from gptloom.model.tokenizers.characters import characters_of


@dataclass(frozen=True)
class Choice:
    """Default core of a part.

    Attributes
    ----------
    checkpoint
        Name of a shipped checkpoint.
    shape
        Shape of the core.
    in_cells
        Whether products of variables use the part's own multipliers, as far as they go. These are
        few and far apart: where there are enough lookup tables, those make shorter wires.
    """

    checkpoint: str
    shape: Shape
    in_cells: bool = True


CHOICES = {
    "12F": Choice("names-w6", Shape(bits_per_cycle=1, positions_per_cycle=1, heads_per_cycle=1)),
    "25F": Choice("names-w6", Shape(bits_per_cycle=1, positions_per_cycle=1, heads_per_cycle=1)),
    "45F": Choice("names-w6", Shape(bits_per_cycle=1, positions_per_cycle=2)),
    "85F": Choice("names", Shape(bits_per_cycle=2, positions_per_cycle=4), in_cells=False),
}
"""Choices by the size of an ECP5."""


def choice_for(board: Board) -> Choice:
    """Return the default core of a board.

    Raises
    ------
    UserError
        If its part cannot have an unrolled core.
    """
    if board.family.unrolled is None:
        raise UserError(
            f"the unrolled core is made of an ECP5's carry cells, which the {board.device} of "
            f"{board.name} does not have: choose another board, or --core folded"
        )
    return CHOICES[board.device.rsplit("-", 1)[-1]]


def target_of(board: Board) -> Target:
    """Return the target of a board's unrolled core: the cells that it is made of.

    Raises
    ------
    UserError
        If its part cannot have an unrolled core.
    """
    cells = board.family.multipliers_of[board.device] if choice_for(board).in_cells else 0
    return board.family.unrolled(cells)


def make_core(board: Board, model: MergedModel, shape: Shape) -> UnrolledCore:
    """Return a core made of the cells of a board's part.

    Raises
    ------
    UserError
        If there is none of this shape, for this model, or in this part.
    """
    core = shape.make(model, target_of(board))
    available = board.family.multipliers_of[board.device]
    if core.other_cells > available:
        raise UserError(
            f"mix, noise and offset take {core.other_cells} multipliers, the {board.device} of "
            f"{board.name} has {available}: choose fewer --heads-per-cycle or --bits-per-cycle"
        )
    return core


def make_top(
    board: Board,
    model: MergedModel,
    core: UnrolledCore,
    clock_hz: float,
    baud: int = BAUD,
    display: str | None = None,
) -> Top:
    """Return the part of a board's design that does not depend on its pins.

    Parameters
    ----------
    board
        Its entry in the table.
    model
        Model that the core computes.
    core
        The hardware.
    clock_hz
        Frequency of the PLL.
    baud
        Baud rate of the serial line.
    display
        Name in :data:`.DISPLAYS` or ``none``, if not the entry's own.

    Raises
    ------
    UserError
        If the serial line cannot be made.
    """
    shown = find_display(board.shows if display is None else display)
    baud_divider(clock_hz, baud, 1)
    scales = [core.encode_scale(model.noise_scale(temperature)) for temperature in TEMPERATURES]
    return Top(
        Chorus(core),
        make_page(characters_of(model.tokenizer), scales, THOUSANDS),
        model.config,
        None,
        clock_hz=clock_hz,
        baud=baud,
        temperatures=len(TEMPERATURES) if board.button else 1,
        display=shown.make(clock_hz) if shown else None,
        checksum=model.checksum(),
        thousands=True,
    )


def required(core: UnrolledCore) -> Required:
    """Return the requirements on the netlist of such a top."""
    return Required(
        memories=(".keys.", ".values.", ".table.", ".late_table.", ".noise.", ".console.memory"),
        constant=(
            # Nobody sets a seed: each stream has one from power-on.
            r"\.core\.core\.(seed|delayed(\$\d+)?)$",
            # No stream waits: only one is shown, on a line that drops what it has no time for.
            r"counters\.stalls$",
        ),
        multipliers=(
            r"\.(attention_\d+\.(scores\.multiplier|weigh)|enter_\d+\.(square|residual|row|own))"
            r"_[\d_$]+\.dsp$"
        ),
        count=core.cells,
    )
