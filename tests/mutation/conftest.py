"""Writes the record of planted faults after a run with ``--record``."""

import json

from faults import COMMAND, FAULTS, RESULTS


class Recorder:
    """Collects verdicts from all processes; a run of some faults replaces only theirs."""

    def __init__(self):
        self.caught = {}
        if RESULTS.exists():
            self.caught = {e["fault"]: e for e in json.loads(RESULTS.read_text())["faults"]}

    def pytest_runtest_logreport(self, report):
        """Take a test's verdict."""
        _, found, name = report.nodeid.partition("::test_fault[")
        if report.when == "call" and found:
            self.caught.pop(name.removesuffix("]"), None)
            self.caught |= {v["fault"]: v for k, v in report.user_properties if k == "caught"}

    def pytest_sessionfinish(self):
        """Write the record."""
        entries = [self.caught[fault.name] for fault in FAULTS if fault.name in self.caught]
        record = dict(command=COMMAND, planted=len(FAULTS), caught=len(entries), faults=entries)
        RESULTS.write_text(json.dumps(record, indent=1) + "\n")


def pytest_configure(config):
    """Register the recorder only in the process that sees all reports."""
    if config.getoption("--record", default=False) and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Recorder())
