"""Processes that compute points: each point once, whatever happens to a process."""

import os
import time
from functools import partial

import pytest
from pretended import DIES, FAILS, FINE, WAITS, compute, figures_of, make_points, runs, until

from gptloom.boards.explore.workers import LocalWorkers, WorkerError


@pytest.mark.parametrize("jobs", [1, 3])
def test_every_point_is_computed_once(swept, tmp_path, jobs):
    points, store, failures = swept(LocalWorkers(jobs))
    assert not failures
    assert {point: dict(store[point].figures) for point in points} == {
        point: figures_of(point.lanes) for point in points
    }
    ran = [runs(tmp_path, point) for point in points]
    assert {len(processes) for processes in ran} == {1}
    assert len({process for (process,) in ran} - {os.getpid()}) == jobs


def test_a_killed_worker_loses_nothing(nothing_is_lost, tmp_path):
    nothing_is_lost(LocalWorkers(3))
    for point in make_points(12):
        assert len(runs(tmp_path, point)) == (2 if point.lanes == 5 else 1)


def test_what_kills_every_worker_is_given_up_and_the_others_are_not(swept, tmp_path):
    deaths = LocalWorkers.deaths
    points, store, failures = swept(LocalWorkers(2), {1: DIES, 3: FAILS}, count=5)
    assert len(runs(tmp_path, points[1])) == deaths
    assert set(failures) == {points[1], points[3]}
    assert isinstance(failures[points[1]], WorkerError)
    assert isinstance(failures[points[3]], ZeroDivisionError)
    assert {outcome.point.lanes for outcome in store.outcomes} == {0, 2, 4}
    # Neither is kept: the next sweep tries these two again, and not the others.
    _, store, failures = swept(LocalWorkers(2), {3: DIES}, count=5)
    assert set(failures) == {points[3]}
    assert [len(runs(tmp_path, point)) for point in points] == [1, deaths + 1, 1, 1 + deaths, 1]


def test_what_runs_is_ended_with_the_sweep(tmp_path):
    calls = list(zip(make_points(3), (FINE, WAITS, WAITS), strict=True))
    results = LocalWorkers(3).run(partial(compute, folder=tmp_path), calls)
    point, _ = next(results)
    assert point.lanes == 0
    until(lambda: all(runs(tmp_path, point) for point, _ in calls))
    begun = time.monotonic()
    results.close()
    assert time.monotonic() - begun < 5
    for point, _ in calls:
        (process,) = runs(tmp_path, point)
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)
