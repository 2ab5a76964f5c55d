"""The Pareto front, against its definition."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as some
from pretended import make_points

from gptloom.boards.explore.point import Outcome
from gptloom.boards.explore.sweep import front

COSTS = some.lists(some.tuples(*[some.integers(0, 4)] * 3), min_size=1, max_size=30)


@settings(deadline=None, derandomize=True, database=None)
@given(costs=COSTS)
def test_a_point_is_on_the_front_unless_another_one_is_better(costs):
    points = make_points(len(costs))
    outcomes = [Outcome(point, {"cost": cost}) for point, cost in zip(points, costs, strict=True)]
    found = front(outcomes, lambda outcome: outcome.figures["cost"])
    all_costs = np.array(costs)
    expected = [
        outcome
        for outcome, cost in zip(outcomes, all_costs, strict=True)
        if not np.any((all_costs <= cost).all(axis=1) & (all_costs < cost).any(axis=1))
    ]
    assert found == expected
    # A point that is the only best one by some measure is on the front.
    for column in all_costs.T:
        if np.sum(column == column.min()) == 1:
            assert outcomes[int(column.argmin())] in found
