"""Who computes the points of a sweep; here processes of this machine."""

from __future__ import annotations

import os
import signal
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from multiprocessing.connection import Connection
from threading import Thread
from typing import Any, Protocol

from gptloom.boards.explore.point import Outcome, Point

Call = tuple[Point, Any]
"""The arguments of a function that computes a point: which one, and its model."""

Evaluate = Callable[[Point, Any], Outcome]
"""Computes a point; known to other processes by its name."""

DEATHS = 3
"""Of workers, after which a point is given up."""


DIED = "every worker that was given it has died, perhaps for lack of memory"


class WorkerError(Exception):
    """Workers have died of a point."""


class Workers(Protocol):
    """Where points are computed."""

    def run(
        self, evaluate: Evaluate, calls: Sequence[Call]
    ) -> Iterator[tuple[Point, Outcome | Exception]]:
        """Compute points, many at a time, and yield each once, as they are done.

        What a worker had begun when it died is computed by another one. An exception is yielded
        in place of the outcome; the others are computed all the same. When the iterator is closed,
        whatever still runs is ended.
        """
        ...


class LocalWorkers:
    """Processes of this machine.

    Parameters
    ----------
    jobs
        How many.
    """

    def __init__(self, jobs: int):
        self._jobs = jobs

    def run(
        self, evaluate: Evaluate, calls: Sequence[Call]
    ) -> Iterator[tuple[Point, Outcome | Exception]]:
        """See :meth:`Workers.run`."""
        waiting, deaths = deque(calls), Counter[Point]()
        workers = [_Process() for _ in range(min(self._jobs, len(calls)))]
        idle, running = list(workers), dict[Future, tuple[_Process, Call]]()
        try:
            while waiting or running:
                while waiting and idle:
                    worker, call = idle.pop(), waiting.popleft()
                    running[worker.submit(evaluate, *call)] = worker, call
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    worker, call = running.pop(future)
                    idle.append(worker)
                    point, error = call[0], future.exception()
                    if isinstance(error, BrokenProcessPool):
                        deaths[point] += 1
                        if deaths[point] < DEATHS:
                            waiting.appendleft(call)
                            continue
                        error = WorkerError(DIED)
                    yield point, error or future.result()
        finally:
            for worker in workers:
                worker.end()


class _Process:
    """A process that is started anew when it has died.

    It is a pool of its own: when the process of a pool dies, all that it runs is lost.
    """

    def __init__(self):
        self._start()

    def _start(self) -> None:
        # Only this process holds the other end, so its end is noticed as well.
        alive, self._alive = get_context("spawn").Pipe(duplex=False)
        self._pool = ProcessPoolExecutor(
            1, mp_context=get_context("spawn"), initializer=_live_while, initargs=(alive,)
        )

    def submit(self, function: Callable, *arguments) -> Future:
        """Run a function."""
        try:
            return self._pool.submit(function, *arguments)
        except BrokenProcessPool:
            self._start()
            return self._pool.submit(function, *arguments)

    def end(self) -> None:
        """End it, and what it has started."""
        self._alive.close()
        self._pool.shutdown(cancel_futures=True)


def _live_while(alive: Connection) -> None:
    """Give this process a group of its own, and end it all when the connection is closed.

    Control-C in a terminal does not reach it there: its parent decides what happens.
    """
    os.setpgrp()
    # A core that is refused has been made in part, which Amaranth would tell of.
    warnings.filterwarnings("ignore", message=".* created but never used")
    Thread(target=_end_after, args=(alive,), daemon=True).start()


def _end_after(alive: Connection) -> None:
    alive.poll(None)
    os.killpg(0, signal.SIGKILL)
