"""The workers of a Dask cluster that is already running."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, Future
from typing import Any

from gptloom.boards.explore.point import Outcome, Point
from gptloom.boards.explore.workers import Call, Evaluate, Workers
from gptloom.model.errors import UserError

TIMEOUT = 5
"""Seconds within which a scheduler has to answer."""

AHEAD = 2
"""Points handed out at a time per thread of the cluster: one is computed while another is on its
way."""


class DaskWorkers(Workers):
    """Workers of a cluster; they need GPTLoom installed, in the same version.

    Parameters
    ----------
    address
        Address of the scheduler, e.g. ``tcp://10.0.0.7:8786``.

    Raises
    ------
    UserError
        If the extra is missing, nothing answers there, or the cluster has no workers.
    """

    # By then Dask has tried other workers.
    deaths = 1

    def __init__(self, address: str):
        try:
            from distributed import Client, KilledWorker
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
        # Impure: a call is computed anew, whatever another sweep has left on the cluster.
        self._executor = self._client.get_executor(pure=False)
        self.death = KilledWorker
        if not self.room():
            self._client.close()
            raise UserError(
                f"the scheduler at {address} has no workers: start some with "
                f"dask worker {address} --nthreads 1"
            )

    def room(self) -> int:
        """See :meth:`.Workers.room`."""
        return AHEAD * sum(self._client.nthreads().values())

    def submit(self, evaluate: Evaluate, point: Point, model: Any) -> Future:
        """See :meth:`.Workers.submit`."""
        return self._executor.submit(evaluate, point, model)

    def end(self) -> None:
        """See :meth:`.Workers.end`."""
        if self._client.status == "running":
            self._executor.shutdown(wait=False)
        self._client.close()

    def run(
        self, evaluate: Evaluate, calls: Sequence[Call]
    ) -> Iterator[tuple[Point, Outcome | Exception]]:
        """See :meth:`.Workers.run`.

        Raises
        ------
        UserError
            If the scheduler goes away.
        """
        try:
            yield from super().run(evaluate, calls)
        except (OSError, CancelledError):
            raise UserError(
                f"the scheduler at {self._address} went away: what is done is kept, run the same "
                "command again for the rest"
            ) from None
