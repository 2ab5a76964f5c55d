"""The workers of a Dask cluster that somebody runs already."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from itertools import islice
from typing import Any
from uuid import uuid4

from gptloom.boards.explore.point import Outcome, Point
from gptloom.boards.explore.workers import DIED, Call, Evaluate, WorkerError
from gptloom.model.errors import UserError

TIMEOUT = 5
"""Seconds in which a scheduler has to answer."""

AHEAD = 2
"""Points for each thread of the cluster that are handed out at a time: one is computed while
another one is on its way."""


class DaskWorkers:
    """Workers of a cluster; they need GPTLoom installed, in the same version.

    Parameters
    ----------
    address
        Of the scheduler, e.g. ``tcp://10.0.0.7:8786``.

    Raises
    ------
    UserError
        If the extra is missing, nothing answers there, or the cluster has no workers.
    """

    def __init__(self, address: str):
        try:
            from distributed import Client
        except ImportError:
            raise UserError(
                "--scheduler needs dask.distributed: run pip install 'gptloom[dask]'"
            ) from None
        try:
            self._client = Client(address, timeout=TIMEOUT, set_as_default=False)
        except (OSError, ValueError) as error:
            said = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(
                f"no Dask scheduler answers at {address} ({said}): start one with dask scheduler, "
                "or leave out --scheduler"
            ) from None
        self._address = address
        if not self._threads():
            self._client.close()
            raise UserError(
                f"the scheduler at {address} has no workers: start some with "
                f"dask worker {address} --nthreads 1"
            )

    def _threads(self) -> int:
        return sum(self._client.nthreads().values())

    def run(
        self, evaluate: Evaluate, calls: Sequence[Call]
    ) -> Iterator[tuple[Point, Outcome | Exception]]:
        """See :meth:`.Workers.run`.

        Raises
        ------
        UserError
            If the scheduler goes away.
        """
        from distributed import as_completed

        waiting, points = iter(calls), dict[Any, Point]()

        def submit(call: Call):
            # A name of its own: what another sweep has left on the cluster is not taken.
            key = f"{call[0].key}-{uuid4().hex}"
            future = self._client.submit(evaluate, *call, key=key, pure=False)
            points[future] = call[0]
            return future

        try:
            begun = [submit(call) for call in islice(waiting, AHEAD * self._threads())]
            done = as_completed(
                begun, loop=self._client.loop, with_results=True, raise_errors=False
            )
            for future, result in done:
                yield points.pop(future), self._judge(result)
                for call in islice(waiting, max(0, AHEAD * self._threads() - len(points))):
                    done.add(submit(call))
        except OSError:
            # It was asked just then how many threads there are.
            raise self._gone() from None
        finally:
            if self._client.status == "running":
                self._client.cancel(list(points))
            self._client.close()

    def _gone(self) -> UserError:
        return UserError(
            f"the scheduler at {self._address} went away: what is done is kept, run the same "
            "command again for the rest"
        )

    def _judge(self, result) -> Outcome | Exception:
        """Return what became of a point.

        The state of its future does not tell: that is lost again when the worker that has computed
        it dies afterwards.
        """
        from distributed import KilledWorker

        if isinstance(result, CancelledError):
            raise self._gone()
        if isinstance(result, tuple):
            _, error, _ = result
            return WorkerError(DIED) if isinstance(error, KilledWorker) else error
        return result
