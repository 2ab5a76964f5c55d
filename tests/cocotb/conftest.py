"""Benches that run within a simulator: what they are built from, and how they are told things."""

import os
import pickle
import sys
from pathlib import Path

import pytest

from verification import cosim


@pytest.fixture(params=["verilator", pytest.param("icarus", marks=pytest.mark.icarus)])
def simulator(request):
    """Each of the simulators in turn; it is an error when one that is asked for is missing."""
    return request.param


@pytest.fixture
def cosimulate(tmp_path):
    """Build a component, or Verilog, and run a bench with a case in one of the simulators."""

    def run(component, bench, case, watched=(), simulator="verilator"):
        text = component
        if not isinstance(text, str):
            text = cosim.bench_verilog(component, watched, simulator)
        folder = cosim.build(text, simulator)
        told = str(case)
        if not isinstance(case, int):
            told = str(tmp_path / "case.pickle")
            Path(told).write_bytes(pickle.dumps(case))
        # The simulator's Python finds benches and cases where this one does.
        told_too = {"CASE": told, "PYTHONPATH": os.pathsep.join(sys.path)}
        cosim.run(folder, bench, tmp_path, told_too, simulator)

    return run
