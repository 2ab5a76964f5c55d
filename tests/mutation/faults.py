"""Faults to be planted in the hardware: one text of one module each, replaced by a wrong one."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

RESULTS = Path(__file__).parent / "results.json"
"""The record of which check finds each."""

COMMAND = "./loom test tests/mutation -m long --record"
"""Writes it."""

HDL = Path(__file__).parents[2] / "hdl"


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes
    ----------
    name
        What goes wrong.
    file
        Of the hardware, under ``hdl/``.
    right, wrong
        Text that is in the file once, and what stands there instead.
    """

    name: str
    file: str
    right: str
    wrong: str

    @property
    def path(self) -> Path:
        """The module's file."""
        return HDL / self.file

    @property
    def module(self) -> str:
        """Name of the Python module."""
        return "gptloom.hdl." + self.file.removesuffix(".py").replace("/", ".")

    def plant(self, source: str) -> str:
        """Return the module's source with the fault.

        Raises
        ------
        ValueError
            If the text is not there, or more than once: the hardware has changed.
        """
        if source.count(self.right) != 1:
            raise ValueError(f"{self.name!r}: {self.right!r} is not once in {self.file}")
        return source.replace(self.right, self.wrong)


FAULTS = [
    Fault(**entry)
    for entry in tomllib.loads((Path(__file__).parent / "faults.toml").read_text())["fault"]
]
