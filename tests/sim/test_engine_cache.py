"""Caches that are not writable, or mounted noexec: they are read, or replaced."""

import ctypes
import errno
import os
import tempfile

import platformdirs
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gptloom.model.errors import UserError
from gptloom.sim.engines import cache as cache_module
from gptloom.sim.engines import open_engine
from gptloom.sim.engines.cache import cache_folder, find_kept, keep, load

KEY = "key"


class Inverter(wiring.Component):
    a: In(8)
    y: Out(8)

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.y.eq(~self.a)
        return m


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """Make a folder for temporary files, which has to be empty at the end."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert not list(folder.iterdir())


@pytest.fixture
def built(tmp_path):
    file = tmp_path / "built.so"
    file.write_bytes(b"content")
    return file


def refuse(*_, **__):
    """Fail as the system does for another user's file."""
    raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))


def silent(message):
    raise AssertionError(message)


def simulate():
    """Simulate, and return the messages."""
    said = []
    with open_engine(Inverter(), "cxxrtl", progress=said.append) as engine:
        engine.poke("a", 1)
        assert engine.peek("y") == 0xFE
    return said


@pytest.mark.long
def test_where_no_cache_can_be_simulations_run_all_the_same(tmp_path, temporary, monkeypatch):
    (tmp_path / "file").write_text("mine")
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda name: str(tmp_path / "file" / name))
    assert any("Compiling" in line for line in simulate())
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.long
def test_a_cache_from_which_nothing_runs_is_of_use(tmp_path, temporary, monkeypatch):
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda name: str(tmp_path / name))
    usual, cache = ctypes.CDLL, cache_folder()

    def noexec(path):
        if path.startswith(str(cache)):
            raise OSError(f"{path}: failed to map segment from shared object")
        return usual(path)

    monkeypatch.setattr(cache_module.ctypes, "CDLL", noexec)
    assert any("Compiling" in line for line in simulate())
    assert simulate() == []
    assert len(list(cache.glob("*.so"))) == 1


def test_what_can_be_loaded_nowhere_is_said(built, temporary):
    with pytest.raises(UserError, match=r"cannot be loaded .*set TMPDIR"):
        load(built)


def test_a_file_that_is_kept_is_found(tmp_path, built):
    cache = tmp_path / "a" / "cache"
    entry = keep(cache, KEY, built)
    assert entry.parent == cache
    assert find_kept(cache, KEY, ".so", silent) == entry
    assert entry.read_bytes() == b"content"
    assert built.exists()


def test_another_users_cache_is_read(tmp_path, built, monkeypatch):
    entry = keep(tmp_path / "cache", KEY, built)
    monkeypatch.setattr(cache_module.os, "utime", refuse)
    monkeypatch.setattr(type(entry), "unlink", refuse)
    assert find_kept(tmp_path / "cache", KEY, ".so", silent) == entry
    # A damaged entry that cannot be removed counts as none.
    entry.write_bytes(b"damaged")
    said = []
    assert find_kept(tmp_path / "cache", KEY, ".so", said.append) is None
    assert len(said) == 1


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_what_a_cache_does_not_take_stays_where_it_was_built(tmp_path, built, monkeypatch, number):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    cache = tmp_path / "cache"
    monkeypatch.setattr("gptloom.model.files.os.replace", fail)
    assert keep(cache, KEY, built) == built
    assert not list(cache.iterdir())


def test_entries_that_cannot_be_removed_stay(tmp_path, built, monkeypatch):
    monkeypatch.setattr(cache_module, "_KEPT", 0)
    monkeypatch.setattr(type(built), "unlink", refuse)
    assert keep(tmp_path / "cache", KEY, built).exists()


def no_home(name):
    raise RuntimeError("could not determine the home directory")


@pytest.mark.parametrize("said", [no_home, lambda name: f"~/.cache/{name}"])
def test_without_a_home_no_folder_is_made_here(tmp_path, built, monkeypatch, said):
    monkeypatch.chdir(tmp_path)
    # Paths as for a user unknown to the system, in several variants.
    monkeypatch.setattr(platformdirs, "user_cache_dir", said)
    assert keep(cache_folder(), KEY, built) == built
    assert find_kept(cache_folder(), KEY, ".so", silent) is None
    assert [path.name for path in tmp_path.iterdir()] == [built.name]
