"""The suite finds faults: each is planted, and the tests below are run until one fails."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from faults import COMMAND, FAULTS, RESULTS

HERE = Path(__file__).parent

SCOREBOARD = "tests/sim/test_faults.py::test_without_a_fault_there_is_no_divergence"
FAMILY = "tests/sim/test_random_llama_cores.py::test_a_small_core"
BLOCKS = sorted(
    f"tests/hdl/{file.name}"
    for file in (HERE.parent / "hdl").glob("test_*.py")
    if file.name not in ("test_folded_core.py", "test_top.py")
)
CHIP = "tests/hdl/test_top.py::test_transmitter"
CHECKS = [SCOREBOARD, FAMILY, *BLOCKS, CHIP]
"""Checks in order: the scoreboard on cores of both families, blocks against the golden model, the
serial line's timing."""

FOUND_BY = {entry["fault"]: entry["test"] for entry in json.loads(RESULTS.read_text())["faults"]}
"""The test that found each fault the last time: it runs before all others, to save time."""

COUNTS = {"DivergenceError", "HangError", "AssertionError", "Failed"}
"""Errors by which a test reports wrong hardware; others mean that the fault itself is broken."""


def find(fault: str, folder: Path) -> dict[str, str] | None:
    """Return the failure by which a fault is found, or None."""
    if fault in FOUND_BY and (failure := run(fault, folder, [FOUND_BY[fault]])):
        return failure
    return run(fault, folder, CHECKS)


def run(fault: str, folder: Path, checks: list[str]) -> dict[str, str] | None:
    """Run checks of everyday and CI with a fault in the hardware; return the failure, or None."""
    verdict = folder / "verdict.json"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-q",
        "-p",
        "planter",
        "-p",
        "no:cacheprovider",
        "-m",
        "not nightly",
    ]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]),
        "GPTLOOM_FAULT": fault,
        "GPTLOOM_VERDICT": str(verdict),
    }
    for name in [n for n in environment if n.startswith("PYTEST_")]:
        del environment[name]
    done = subprocess.run(
        [*command, *checks],
        cwd=HERE.parents[1],
        env=environment,
        capture_output=True,
        text=True,
        timeout=1800,
    )
    # There may be no such test any more, or only at night.
    gone = checks is not CHECKS and done.returncode in (4, 5)
    if done.returncode not in (0, 1) and not gone:
        raise RuntimeError(f"the checks did not run:\n{done.stdout[-3000:]}{done.stderr[-1000:]}")
    return json.loads(verdict.read_text()) if done.returncode == 1 else None


@pytest.mark.nightly
def test_without_a_fault_all_is_well(tmp_path):
    assert run("", tmp_path, CHECKS) is None


@pytest.mark.nightly
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_fault(fault, tmp_path, record_property):
    failure = find(fault.name, tmp_path)
    assert failure, "no check found it"
    assert failure["error"] in COUNTS, f"the fault does not work: {failure}"
    record_property("caught", {"fault": fault.name, "file": f"hdl/{fault.file}", **failure})


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_the_hardware_still_has_what_the_fault_replaces(fault):
    source = fault.path.read_text()
    assert fault.plant(source) != source


def test_the_record_is_of_these_faults():
    record = json.loads(RESULTS.read_text())
    names = [fault.name for fault in FAULTS]
    assert len(set(names)) == len(names) >= 30
    recorded = [(entry["fault"], entry["file"]) for entry in record["faults"]]
    assert recorded == [(fault.name, f"hdl/{fault.file}") for fault in FAULTS], f"run {COMMAND}"
    assert record["command"] == COMMAND
    assert (record["planted"], record["caught"]) == (len(names), len(names))
