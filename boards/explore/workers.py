"""Workers that compute the points of a sweep, and those that run on this machine."""

from __future__ import annotations

import os
import signal
import warnings
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from multiprocessing.connection import Connection
from threading import Thread
from typing import Any

from gptloom.boards.explore.point import Outcome, Point

Call = tuple[Point, Any]
"""Arguments of a function that computes a point: the point and its model."""

Evaluate = Callable[[Point, Any], Outcome]
"""Computes a point; other processes find it by its name."""

DIED = "every worker that was given it has died, perhaps for lack of memory"


class WorkerError(Exception):
    """All workers that were given a point have died."""


class Workers(ABC):
    """Processes that compute points, here or elsewhere.

    Attributes
    ----------
    death
        Exception of a call whose process has died.
    deaths
        Number of processes that may die of a point before it is given up.
    """

    death: type[Exception]
    deaths: int

    @abstractmethod
    def room(self) -> int:
        """Return how many calls may run at a time."""

    @abstractmethod
    def submit(self, evaluate: Evaluate, point: Point, model: Any) -> Future:
        """Start a call."""

    @abstractmethod
    def end(self) -> None:
        """End whatever is still running."""

    def run(
        self, evaluate: Evaluate, calls: Sequence[Call]
    ) -> Iterator[tuple[Point, Outcome | Exception]]:
        """Compute points, many at a time, and yield each once, as it finishes.

        A point whose worker has died is computed by another one. An exception is yielded in place
        of an outcome; the other points are computed all the same. Whatever is still running when
        the iterator is closed is ended.
        """
        waiting, running, deaths = deque(calls), dict[Future, Call](), Counter[Point]()
        try:
            while waiting or running:
                room = self.room() - len(running)
                while waiting and room > 0:
                    call, room = waiting.popleft(), room - 1
                    running[self.submit(evaluate, *call)] = call
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    point, _ = call = running.pop(future)
                    error = future.exception()
                    if isinstance(error, self.death):
                        deaths[point] += 1
                        if deaths[point] < self.deaths:
                            waiting.appendleft(call)
                            continue
                        error = WorkerError(DIED)
                    yield point, error or future.result()
        finally:
            self.end()


class LocalWorkers(Workers):
    """Processes of this machine.

    Parameters
    ----------
    jobs
        Number of processes.
    """

    death, deaths = BrokenProcessPool, 3

    def __init__(self, jobs: int):
        self._processes = [_Process() for _ in range(jobs)]

    def room(self) -> int:
        """See :meth:`Workers.room`."""
        return len(self._processes)

    def submit(self, evaluate: Evaluate, point: Point, model: Any) -> Future:
        """See :meth:`Workers.submit`."""
        idle = next(process for process in self._processes if process.idle)
        return idle.submit(evaluate, point, model)

    def end(self) -> None:
        """See :meth:`Workers.end`."""
        for process in self._processes:
            process.end()


class _Process:
    """A process that is restarted when it has died.

    It is a pool of its own: when a process of a pool dies, everything the pool runs is lost.
    """

    def __init__(self):
        self._last: Future | None = None
        self._start()

    @property
    def idle(self) -> bool:
        """Whether it runs nothing."""
        return self._last is None or self._last.done()

    def _start(self) -> None:
        # Only this process holds the other end, so even its sudden death closes the connection.
        alive, self._alive = get_context("spawn").Pipe(duplex=False)
        self._pool = ProcessPoolExecutor(
            1, mp_context=get_context("spawn"), initializer=_live_while, initargs=(alive,)
        )

    def submit(self, function: Callable, *arguments) -> Future:
        """Run a function."""
        try:
            self._last = self._pool.submit(function, *arguments)
        except BrokenProcessPool:
            self._start()
            self._last = self._pool.submit(function, *arguments)
        return self._last

    def end(self) -> None:
        """End it, and everything that it has started."""
        self._alive.close()
        self._pool.shutdown(cancel_futures=True)


def _live_while(alive: Connection) -> None:
    """Give this process a group of its own, and end the group when the connection is closed.

    Control-C in a terminal does not reach the group: the parent decides what happens.
    """
    os.setpgrp()
    # A core that is refused has been made in part, which Amaranth would warn about.
    warnings.filterwarnings("ignore", message=".* created but never used")
    Thread(target=_end_after, args=(alive,), daemon=True).start()


def _end_after(alive: Connection) -> None:
    alive.poll(None)
    os.killpg(0, signal.SIGKILL)
