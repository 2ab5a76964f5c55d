"""The board table: finding an entry by its name."""

from difflib import get_close_matches

from gptloom.boards.board import Board
from gptloom.boards.first_tier import FIRST_TIER
from gptloom.boards.second_tier import SECOND_TIER
from gptloom.model.errors import UserError

BOARDS = {board.name: board for board in (*FIRST_TIER, *SECOND_TIER)}


def find_board(name: str) -> Board:
    """Return a board's entry.

    Raises
    ------
    UserError
        If there is none, naming the nearest and all.
    """
    board = BOARDS.get(name.lower())
    if board is None:
        near = get_close_matches(name.lower(), BOARDS, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UserError(f"there is no board {name!r}: {hint}The boards are {', '.join(BOARDS)}")
    return board
