"""Compiled simulations are kept, shared by processes, and made anew where they are damaged."""

import os
import subprocess
import sys
from pathlib import Path

import platformdirs
import pytest

from gptloom.model.errors import UserError
from gptloom.sim.engines import build, cxxrtl, open_engine
from gptloom.sim.engines import cache as build_cache
from verification.designs import Adder

pytestmark = [
    # A refused design is never elaborated.
    pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable"),
    # One process compiles the designs.
    pytest.mark.xdist_group("engines"),
]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda name: str(tmp_path / name))
    return tmp_path / "gptloom" / "simulations"


def _entries(cache):
    assert not list(cache.glob("build-*"))
    return list(cache.glob("*.so"))


def test_failed_compile_shows_the_compilers_words(cache, monkeypatch, tmp_path):
    broken = tmp_path / "driver.cc"
    broken.write_text("#error a telling line\n")
    monkeypatch.setattr(build, "DRIVER", broken)
    with pytest.raises(UserError, match="a telling line"):
        open_engine(Adder(), "cxxrtl")
    assert _entries(cache) == []


@pytest.mark.long
def test_cache_hit_and_damaged_entry(cache):
    def run():
        said = []
        with open_engine(Adder(), "cxxrtl", progress=said.append) as engine:
            engine.poke("a", 15)
            assert engine.peek("y") == 16
        return said

    assert any("Compiling" in line for line in run())
    assert run() == []
    (entry,) = _entries(cache)
    content = entry.read_bytes()
    # Not in place, because the loader has the old contents mapped.
    entry.unlink()
    entry.write_bytes(content[: len(content) // 2])
    assert any("damaged" in line for line in run())
    assert len(_entries(cache)) == 1
    assert run() == []


@pytest.mark.long
def test_a_kept_design_is_not_made_again(cache, monkeypatch):
    def value(constant, identity):
        with open_engine(Adder(constant), "cxxrtl", identity=identity) as engine:
            return engine.peek("y")

    assert (value(1, "one"), value(2, "two")) == (1, 2)
    made = []
    monkeypatch.setattr(cxxrtl, "design_rtlil", lambda *_: made.append(1))
    assert (value(1, "one"), value(2, "two")) == (1, 2)
    assert not made


@pytest.mark.long
def test_cache_keeps_the_last_used(cache, monkeypatch):
    monkeypatch.setattr(build_cache, "_KEPT", 1)
    for constant in (1, 2):
        open_engine(Adder(constant), "cxxrtl").close()
    assert len(_entries(cache)) == 1


def _elsewhere(code, **env):
    """Run code on these designs in another process."""
    prelude = """
import platformdirs
from gptloom.sim.engines import open_engine
from verification.designs import Adder, Block
"""
    tests = str(Path(__file__).parents[1])
    return subprocess.Popen(
        [sys.executable, "-c", prelude + code],
        env={**os.environ, "PYTHONPATH": tests, **env},
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.long
def test_parallel_builds_share_a_cache(tmp_path):
    code = f"""
platformdirs.user_cache_dir = lambda name: {str(tmp_path)!r}
open_engine(Adder(), "cxxrtl", progress=print).close()
"""
    processes = [_elsewhere(code) for _ in range(2)]
    outputs = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert all("Compiling" in text for text in outputs)
    # Two compiles need not give the same bytes.
    assert len(_entries(tmp_path / "simulations")) in (1, 2)
    assert _elsewhere(code).communicate()[0] == ""


def test_the_cache_key_is_the_same_in_every_process():
    code = """
from amaranth.hdl import ClockDomain
from gptloom.sim.engines import cxxrtl
block = Block()
print(cxxrtl.design_rtlil(block, cxxrtl.component_ports(block), ClockDomain("sync")))
"""
    texts = {_elsewhere(code, PYTHONHASHSEED=seed).communicate()[0] for seed in ("1", "2")}
    assert len(texts) == 1
    assert "sum" in texts.pop()
