"""A sweep: outcomes that are not known yet are computed, and stored as they come."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing

from gptloom.boards.explore.models import Models
from gptloom.boards.explore.point import Outcome, Point
from gptloom.boards.explore.store import Store
from gptloom.boards.explore.workers import Call, Evaluate, Workers
from gptloom.model.errors import UserError


def sweep(
    points: Sequence[Point],
    store: Store,
    workers: Workers,
    evaluate: Evaluate,
    models: Models,
    done: Callable[[Outcome | None], None] = lambda outcome: None,
) -> dict[Point, Exception]:
    """Compute the points that are not in the store.

    Parameters
    ----------
    points
        All points wanted.
    store
        Gets each outcome as soon as it is known.
    workers
        Compute them.
    evaluate
        Computes one point.
    models
        Models of the points; each is quantised, and its loss measured, once.
    done
        Called after each point, with None for one that is not finished.

    Returns
    -------
    dict
        Points that are not finished, with the exception: a fault of the program or of the machine.
        A core that turns out useless is a result like any other.
    """
    calls: list[Call] = []
    for point in points:
        if point not in store:
            try:
                calls.append((point, models.of(point)))
            except UserError as error:
                store.add(Outcome(point, reason=str(error)))
                done(store[point])
    failures: dict[Point, Exception] = {}
    with closing(workers.run(evaluate, calls)) as results:
        for point, result in results:
            if isinstance(result, Exception):
                failures[point] = result
                done(None)
            else:
                store.add(result)
                done(result)
    return failures


def front(outcomes: Sequence[Outcome], cost: Callable[[Outcome], tuple]) -> list[Outcome]:
    """Return the outcomes of a Pareto front, in their order.

    Parameters
    ----------
    outcomes
        Usable outcomes.
    cost
        Values to be kept small. An outcome is left out if another one costs no more in any of them,
        and less in one.
    """
    costs = [cost(outcome) for outcome in outcomes]
    best = {
        mine
        for mine in set(costs)
        if not any(
            other != mine and all(o <= m for o, m in zip(other, mine, strict=True))
            for other in set(costs)
        )
    }
    return [outcome for outcome, mine in zip(outcomes, costs, strict=True) if mine in best]
