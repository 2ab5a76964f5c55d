"""A pytest plugin that plants a fault before anything is imported, and reports the verdict.

The environment names the fault (``GPTLOOM_FAULT``, empty for none) and a file for the verdict
(``GPTLOOM_VERDICT``): the test that failed, and its error.
"""

import json
import os
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path

import pytest
from faults import FAULTS, Fault


class _Loader(SourceFileLoader):
    def __init__(self, fault: Fault, name: str, path: str):
        super().__init__(name, path)
        self._fault = fault

    def get_code(self, fullname: str):
        """Compile the faulty source, bypassing all caches."""
        source = self._fault.plant(self.get_data(self.path).decode())
        return self.source_to_code(source, self.path)


class _Finder(MetaPathFinder):
    def __init__(self, fault: Fault):
        self._fault = fault

    def find_spec(self, fullname, path=None, target=None):
        """Replace the module's own finder."""
        if fullname != self._fault.module:
            return None
        file = str(self._fault.path)
        return spec_from_file_location(fullname, file, loader=_Loader(self._fault, fullname, file))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Write down the first failure."""
    verdict = Path(os.environ["GPTLOOM_VERDICT"])
    if call.excinfo is not None and not verdict.exists():
        error = call.excinfo
        text = str(error.value).strip() or error.exconly()
        verdict.write_text(
            json.dumps(
                {
                    "test": item.nodeid,
                    "error": error.typename,
                    "message": text.splitlines()[0].partition("; waveform")[0],
                }
            )
        )
    return (yield)


for _fault in FAULTS:
    if _fault.name == os.environ["GPTLOOM_FAULT"]:
        sys.meta_path.insert(0, _Finder(_fault))
