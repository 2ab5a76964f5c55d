"""Writes the record of planted faults, when a run with ``--record`` has planted all of them."""

import json
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from faults import FAULTS  # noqa: E402

RESULTS = HERE / "results.json"
COMMAND = "./loom test tests/mutation -m long --record"


class Recorder:
    """Collects what the tests say, from all processes."""

    def __init__(self):
        self.caught, self.planted = {}, set()

    def pytest_runtest_logreport(self, report):
        """Take a test's verdict."""
        if report.when == "call" and "::test_fault[" in report.nodeid:
            self.planted.add(report.nodeid)
            self.caught |= {v["fault"]: v for k, v in report.user_properties if k == "caught"}

    def pytest_sessionfinish(self):
        """Write the record."""
        if len(self.planted) < len(FAULTS):
            return
        entries = [self.caught[fault.name] for fault in FAULTS if fault.name in self.caught]
        record = dict(command=COMMAND, planted=len(FAULTS), caught=len(entries), faults=entries)
        RESULTS.write_text(json.dumps(record, indent=1) + "\n")


def pytest_configure(config):
    """Only the process that sees all reports writes."""
    if config.getoption("--record", default=False) and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Recorder())
