"""Sweeps of mock points."""

from functools import partial
from threading import Thread

import pytest
from pretended import FINE, WAITS, compute, kill_runner, make_points, runs

from gptloom.boards.explore.store import Store
from gptloom.boards.explore.sweep import sweep


class Behaviours:
    """Stand-in for models: the behaviour of each point."""

    def __init__(self, special):
        self._special = special

    def of(self, point):
        return self._special.get(point.lanes, FINE)


@pytest.fixture
def swept(tmp_path):
    """Run a sweep of mock points, some of which behave differently, and return its results."""

    def run(workers, special=None, count=12, kill=None):
        points = make_points(count)
        if kill is not None:
            Thread(target=kill_runner, args=(tmp_path, points[kill]), daemon=True).start()
        with Store(tmp_path / "sweep.jsonl") as store:
            evaluate = partial(compute, folder=tmp_path)
            failures = sweep(points, store, workers, evaluate, Behaviours(special or {}))
            return points, store, failures

    return run


@pytest.fixture
def nothing_is_lost(swept, tmp_path):
    """Check a sweep in which one worker is killed in the middle of a point."""

    def check(workers):
        points, store, failures = swept(workers, {5: WAITS}, kill=5)
        assert not failures
        assert sorted(outcome.point.lanes for outcome in store.outcomes) == list(range(len(points)))
        lines = (tmp_path / "sweep.jsonl").read_text().splitlines()
        assert len(lines) == 1 + len(points)
        first, second = runs(tmp_path, points[5])
        assert first != second

    return check
