"""Compilers are found in the order that suits their use."""

import pytest

from gptloom.model.errors import UserError
from gptloom.sim.engines import compilers


def test_ziglang_is_found_last(monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(compilers.shutil, "which", lambda name: None)
    monkeypatch.setattr(compilers.util, "find_spec", lambda name: name)
    monkeypatch.setattr(compilers.metadata, "version", lambda name: "0.99")
    compiler = compilers.find_compiler()
    assert compiler.is_zig
    assert compiler.command[1:] == ("-m", "ziglang", "c++")


def test_ziglang_is_first_for_simulations(monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(compilers.util, "find_spec", lambda name: name)
    monkeypatch.setattr(compilers.metadata, "version", lambda name: "0.99")
    assert compilers.find_quick_compiler().is_zig
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match="no-such-compiler"):
        compilers.find_quick_compiler()
    monkeypatch.delenv("CXX")
    monkeypatch.setattr(compilers.util, "find_spec", lambda name: None)
    assert compilers.find_quick_compiler() == compilers.find_compiler()
