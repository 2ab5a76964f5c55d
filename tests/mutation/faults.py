"""Faults to plant in the hardware, each a text of one module replaced by a wrong one."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

RESULTS = Path(__file__).parent / "results.json"
"""Record of the check that finds each fault."""

COMMAND = "./loom test tests/mutation -m nightly --record"
"""Command that writes the record."""

HDL = Path(__file__).parents[2] / "hdl"


@dataclass(frozen=True)
class Fault:
    """A fault to plant.

    Attributes
    ----------
    name
        Description of the fault.
    file
        Source file, relative to ``hdl/``.
    right, wrong
        Text that occurs in the file once, and its replacement.
    """

    name: str
    file: str
    right: str
    wrong: str

    @property
    def path(self) -> Path:
        """Path of the module's file."""
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
            If the text does not occur exactly once: the hardware has changed.
        """
        if source.count(self.right) != 1:
            raise ValueError(f"{self.name!r}: {self.right!r} is not once in {self.file}")
        return source.replace(self.right, self.wrong)


FAULTS = [
    Fault(**entry)
    for entry in tomllib.loads((Path(__file__).parent / "faults.toml").read_text())["fault"]
]
