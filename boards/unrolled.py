"""The unrolled core on a board: what of it a part holds, and its top."""

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


@dataclass(frozen=True)
class Choice:
    """What a part is built with unless something else is asked for.

    Attributes
    ----------
    checkpoint
        Name of a shipped one.
    shape
        Of the core.
    in_cells
        Variables are multiplied in the part's own multipliers, as far as they go. These are few and
        far between: where there are lookup tables enough, they make shorter wires.
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
"""By the size of an ECP5."""


def choice_for(board: Board) -> Choice:
    """Return what a board is built with unless something else is asked for.

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
    """Return what a core on a board is made of.

    Raises
    ------
    UserError
        If its part cannot have an unrolled core.
    """
    cells = board.family.multipliers_of[board.device] if choice_for(board).in_cells else 0
    return board.family.unrolled(cells)


def make_core(board: Board, model: MergedModel, shape: Shape) -> UnrolledCore:
    """Return a core of what a board's part has.

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
    """Return all of a board's design that does not depend on its pins.

    Parameters
    ----------
    board
        Its entry in the table.
    model
        What the core computes.
    core
        The hardware.
    clock_hz
        As the PLL makes it.
    baud
        Of the serial line.
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
        make_page(model.tokenizer.characters, scales, THOUSANDS),
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
    """Return what the netlist of such a top is to have."""
    return Required(
        memories=(".keys.", ".values.", ".table.", ".late_table.", ".noise.", ".console.memory"),
        constant=(
            # Nobody sets a seed: each stream has one from power-on.
            r"\.core\.core\.(seed|delayed(\$\d+)?)$",
            # No stream waits: one is heard, by a line that drops what it has no time for.
            r"counters\.stalls$",
        ),
        multipliers=(
            r"\.(attention_\d+\.(scores\.multiplier|weigh)|enter_\d+\.(square|residual|row|own))"
            r"_[\d_$]+\.dsp$"
        ),
        count=core.cells,
    )
