"""Mock points that are computed at once, or fail; other processes import them from here."""

import os
import signal
import time

from gptloom.boards.explore.point import FOLDED, Outcome, Point

FINE, WAITS, DIES, FAILS = "fine", "waits when first run", "dies", "fails"
"""Behaviours, in place of a model."""


def make_points(count):
    return [Point("ulx3s-25f", FOLDED, "names", "0" * 12, 8, lanes=n) for n in range(count)]


def figures_of(n):
    return {"tokens_per_second": 100 + n, "lut": 7 * n + 1, "integer_loss": 2.1}


def compute(point, behaviour, folder):
    """Return a point's mock outcome, and note in the folder the process that ran it."""
    with runs_file(folder, point).open("a") as file:
        file.write(f"{os.getpid()}\n")
    if behaviour == WAITS and len(runs(folder, point)) == 1:
        time.sleep(60)
    if behaviour == DIES:
        os.kill(os.getpid(), signal.SIGKILL)
    if behaviour == FAILS:
        raise ZeroDivisionError("of this point")
    time.sleep(0.01)
    return Outcome(point, figures_of(point.lanes))


def runs_file(folder, point):
    return folder / f"{point.lanes}.runs"


def runs(folder, point):
    """Return the processes that have run a point."""
    file = runs_file(folder, point)
    return [int(line) for line in file.read_text().splitlines()] if file.exists() else []


def until(true, seconds=60):
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def kill_runner(folder, point):
    """Wait until a process runs a point, and kill it."""
    until(lambda: runs(folder, point))
    os.kill(runs(folder, point)[0], signal.SIGKILL)
