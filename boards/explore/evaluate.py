"""Outcome of one point of a sweep: by the estimate, or by placing and routing it."""

from __future__ import annotations

import shutil
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from uuid import uuid4

from gptloom.boards.build import Build
from gptloom.boards.calibration import load_calibration
from gptloom.boards.designs import Settings, folded_design, unrolled_design
from gptloom.boards.estimate import RESOURCES, Estimator, Needs
from gptloom.boards.explore.models import Model
from gptloom.boards.explore.point import FOLDED, Outcome, Point
from gptloom.boards.routed import place_and_route
from gptloom.boards.table import find_board
from gptloom.boards.tools import ToolError, Tools
from gptloom.boards.unrolled_estimate import estimate_unrolled
from gptloom.hdl.unrolled.shape import Shape
from gptloom.model.errors import UserError


def estimate_point(point: Point, model: Model) -> Outcome:
    """Return the outcome of ``gptloom estimate`` for a point."""
    begun = time.monotonic()
    try:
        needs = _needs(point, model)
    except UserError as error:
        return Outcome(point, reason=str(error), seconds=time.monotonic() - begun)
    figures = needs.as_dict() | {"integer_loss": model.metadata["integer_loss"]}
    return Outcome(point, figures, _lacking(needs), time.monotonic() - begun)


_estimators: dict[tuple[str, str], Estimator] = {}
"""Estimators by checkpoint and digest: each process computes only once what boards share."""


def _needs(point: Point, model: Model) -> Needs:
    board = find_board(point.board)
    if point.core != FOLDED:
        return estimate_unrolled(board, model, _shape(point))
    name = point.checkpoint, point.digest
    if name not in _estimators:
        _estimators[name] = Estimator(model, load_calibration().sizes)
    return _estimators[name].estimate(board, point.lanes)


def _shape(point: Point) -> Shape:
    return Shape(point.bits_per_cycle, point.positions, point.heads_per_cycle)


def _lacking(needs: Needs) -> str | None:
    names = " and ".join(RESOURCES[name] for name in needs.lacking)
    return f"too few {names} on {needs.board.name}" if names else None


def build_point(point: Point, model: Model, folder: Path, *, native: bool = False) -> Outcome:
    """Place and route a point's design with its seed, unless its estimate does not fit.

    Parameters
    ----------
    point, model
        The point and its model.
    folder
        Parent of the build's own folder, which is removed afterwards.
    native
        See :class:`.Tools`.

    Raises
    ------
    UserError
        If a tool is missing, or was killed from outside: the point's outcome is then unknown.
    """
    begun = time.monotonic()
    expected = estimate_point(point, model)
    if expected.reason:
        return expected
    board = find_board(point.board)
    # The tools of an attempt whose worker has died may still write to its own folder.
    place = folder / f"{point.key}-{uuid4().hex[:8]}"
    tools = Tools(native=native)
    task = Build(board, place, tools, nullcontext, frees_carries=point.core != FOLDED)
    # Not kept as an outcome: with the tool there, the point will have another result.
    task.find_tools()
    figures, reason = {}, None
    try:
        figures, reason = _placed(task, point, model)
    except ToolError as error:
        if error.code < 0:
            raise
        # The message says which folder to look into, so the folder stays.
        return Outcome(point, reason=str(error), seconds=time.monotonic() - begun)
    except UserError as error:
        reason = str(error)
    shutil.rmtree(place, ignore_errors=True)
    return Outcome(point, figures, reason, time.monotonic() - begun)


def _placed(task: Build, point: Point, model: Model) -> tuple[dict[str, Any], str | None]:
    """Return a routed design's figures, and the reason why it is of no use, if there is one."""
    if point.core == FOLDED:
        design = folded_design(task.board, point.checkpoint, model, point.lanes)
    else:
        design = unrolled_design(task.board, point.checkpoint, model, _shape(point))
    result = place_and_route(task, design, Settings(), [point.seed])
    timing = result.timing
    missed = f"timing not met: {timing.fmax_mhz:.1f} MHz of {timing.constraint_mhz:.1f}"
    return dict(result.figures), None if timing.met else missed
