"""A real Dask cluster on this machine: scheduler and workers are processes of their own."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from pretended import DIES, FAILS, WAITS, make_points, runs, until

from gptloom.boards.explore.cluster import DaskWorkers
from gptloom.boards.explore.workers import WorkerError
from gptloom.cli.main import main
from gptloom.model.errors import UserError


class Cluster:
    """Processes of Dask, with this process's module path."""

    def __init__(self, folder):
        self._folder, self._processes = folder, []
        self._file = folder / "scheduler.json"
        self._environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self.scheduler = self._start("scheduler", "--port", "0", "--no-dashboard")
        until(lambda: self._file.exists() and "tcp://" in self._file.read_text())
        text = self._file.read_text()
        self.address = text[text.index("tcp://") :].partition('"')[0]

    def _start(self, kind, *options):
        command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", *options]
        process = subprocess.Popen(
            [*command, "--scheduler-file", self._file],
            cwd=self._folder,
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=(self._folder / f"{kind}.log").open("ab"),
        )
        self._processes.append(process)
        return process

    def add_workers(self, count):
        from distributed import Client

        for _ in range(count):
            self._start("worker", "--nthreads", "1", "--no-nanny", "--no-dashboard")
        with Client(self.address, set_as_default=False) as client:
            client.wait_for_workers(count, timeout=60)

    def end(self):
        for process in self._processes:
            process.kill()
            process.wait()


@pytest.fixture
def cluster(tmp_path):
    running = Cluster(tmp_path)
    yield running
    running.end()


@pytest.mark.nightly
def test_a_killed_worker_loses_nothing(cluster, nothing_is_lost):
    cluster.add_workers(3)
    nothing_is_lost(DaskWorkers(cluster.address))


@pytest.mark.long
def test_what_fails_is_told_and_the_others_are_computed(cluster, swept, tmp_path):
    cluster.add_workers(5)
    points, store, failures = swept(DaskWorkers(cluster.address), {1: DIES, 3: FAILS}, count=6)
    assert set(failures) == {points[1], points[3]}
    assert isinstance(failures[points[1]], WorkerError)
    assert isinstance(failures[points[3]], ZeroDivisionError)
    assert {outcome.point.lanes for outcome in store.outcomes} == {0, 2, 4, 5}
    assert len(set(runs(tmp_path, points[1]))) > 1


def test_a_scheduler_that_goes_away_is_told(cluster, swept, tmp_path):
    cluster.add_workers(1)
    workers = DaskWorkers(cluster.address)
    cluster_gone = make_points(3)[2]

    from threading import Thread

    def kill():
        until(lambda: runs(tmp_path, cluster_gone))
        os.kill(cluster.scheduler.pid, signal.SIGKILL)

    Thread(target=kill, daemon=True).start()
    begun = time.monotonic()
    with pytest.raises(UserError, match="went away: what is done is kept, run the same command"):
        swept(workers, {2: WAITS}, count=3)
    assert time.monotonic() - begun < 20


def test_a_cluster_without_workers_is_refused(cluster):
    with pytest.raises(UserError, match="has no workers: start some with dask worker tcp://"):
        DaskWorkers(cluster.address)


@pytest.mark.long
def test_nobody_answers(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{unused.getsockname()[1]}"
        begun = time.monotonic()
        assert main(["explore", "--core", "folded", "--scheduler", address]) == 2
        assert time.monotonic() - begun < 20
    error = capsys.readouterr().err
    assert error.startswith(f"gptloom: error: no Dask scheduler answers at {address} (")
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_the_extra_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UserError, match=r"pip install 'gptloom\[dask\]'"):
        DaskWorkers("tcp://127.0.0.1:1")
