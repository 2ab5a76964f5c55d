"""Compilation of a chip to WebAssembly: CXXRTL's C++, compiled by the ziglang package."""

import subprocess
import tempfile
from pathlib import Path

from amaranth.hdl import ClockDomain
from amaranth.lib import wiring

from gptloom.model.errors import UserError
from gptloom.sim.engines import build
from gptloom.sim.engines.base import Progress, component_ports
from gptloom.sim.engines.cache import digest, find_kept, keep
from gptloom.sim.engines.compilers import Compiler, find_zig
from gptloom.sim.engines.cxxrtl import design_rtlil

_DRIVER = Path(__file__).with_name("driver.cc")
_FLAGS = (
    *("-target", "wasm32-wasi", "-mexec-model=reactor", "-Wl,--export-dynamic", "-s"),
    *("-O3", "-fno-exceptions", "-fno-rtti"),
    *build.FLAGS,
    *build.FLAGS_OF_ZIG,
)
_NAMED = "-g3"
"""Ports and registers keep their names, for the waveform."""


def require_zig() -> Compiler:
    """Return the ziglang package's compiler: no other one makes WebAssembly.

    Raises
    ------
    UserError
        If the package is missing.
    """
    compiler = find_zig()
    if compiler is None:
        raise UserError(
            "WebAssembly is made by the compiler of the package ziglang, which is missing: "
            "run `pip install 'gptloom[zig]'`"
        )
    return compiler


def compile_wasm(
    component: wiring.Component, compiler: Compiler, cache: Path, progress: Progress
) -> bytes:
    """Return a design's simulation as a WebAssembly module, built unless the cache holds it.

    Parameters
    ----------
    component
        The design, with one clock domain, ``sync``, and the ports that ``driver.cc`` watches.
    compiler
        See :func:`require_zig`.
    cache
        Folder of compiled simulations.
    progress
        Called with a sentence about each slow step.

    Raises
    ------
    UserError
        If the compiler fails.
    """
    rtlil = design_rtlil(component, component_ports(component), ClockDomain("sync"))
    drivers = build.DRIVER.read_bytes() + _DRIVER.read_bytes()
    about = repr((compiler.command, compiler.version, _FLAGS, _NAMED))
    key = digest(rtlil.encode(), drivers, build.yosys_version(), about.encode())
    entry = find_kept(cache, key, ".wasm", progress)
    if entry is not None:
        return entry.read_bytes()
    with tempfile.TemporaryDirectory(prefix="gptloom-build-") as name:
        built = _build(rtlil, drivers, compiler, Path(name), progress)
        return keep(cache, key, built).read_bytes()


def _build(
    rtlil: str, drivers: bytes, compiler: Compiler, folder: Path, progress: Progress
) -> Path:
    progress("Translating the design to C++ (CXXRTL)")
    source = build.translate(rtlil, folder, _NAMED)
    (folder / "simulation.cc").write_bytes(source.encode() + drivers)
    progress("Compiling it to WebAssembly with zig c++ (less than a minute)")
    command = [*compiler.command, *_FLAGS, build.feedback(source), f"-I{build.headers()}"]
    command += ["simulation.cc", "-o", "simulation.wasm"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        tail = "\n".join((done.stderr or done.stdout).strip().splitlines()[-8:])
        raise UserError(f"{compiler.label} could not compile the simulation; it said:\n{tail}")
    return folder / "simulation.wasm"
