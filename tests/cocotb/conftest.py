"""Benches that run within Verilator: what they are built from, and how they are told what to do."""

import pickle
import sys
from pathlib import Path

import pytest

from gptloom.sim import cosim

HERE = Path(__file__).parent


@pytest.fixture
def cosimulate(tmp_path, monkeypatch):
    """Build a component and run a bench with a case; returns the folder of its files."""
    # The simulator's Python finds benches and cases where this one does.
    monkeypatch.syspath_prepend(HERE)

    def run(component, bench, case, watched=()):
        folder = cosim.build(cosim.bench_verilog(component, watched))
        told = str(case)
        if not isinstance(case, int):
            told = str(tmp_path / "case.pickle")
            Path(told).write_bytes(pickle.dumps(case))
        cosim.run(folder, bench, tmp_path, {"CASE": told, "PYTHONPATH": ":".join(sys.path)})
        return tmp_path

    return run
