"""A cache folder for the tools that cannot run without one, where the user's cannot be written."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import platformdirs

_READ_ONLY = ("gptloom", "wasmtime", "YoWASP/*")
"""Caches that are of use without being written to."""


@contextmanager
def usable_caches() -> Iterator[None]:
    """Let this process and those it starts have a home and a cache folder while the context lasts.

    Yosys, nextpnr and zig keep what they compile there, and fail where they cannot. Where there is
    no such folder, or it cannot be written, a temporary one takes its place in the environment;
    what the other holds is read.
    """
    before = os.environ.copy()
    with ExitStack() as made:
        try:
            if os.environ.get("HOME") == "":
                del os.environ["HOME"]
            if not os.path.isabs(os.path.expanduser("~")):
                os.environ["HOME"] = made.enter_context(_temporary())
            cache = Path(platformdirs.user_cache_dir())
            if not _can_be_written(cache):
                name = made.enter_context(_temporary())
                _link(cache, Path(name))
                os.environ["XDG_CACHE_HOME"] = name
            yield
        finally:
            for name in ("HOME", "XDG_CACHE_HOME"):
                os.environ.pop(name, None)
                if name in before:
                    os.environ[name] = before[name]


def _temporary() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="gptloom-", ignore_cleanup_errors=True)


def _can_be_written(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Whether there is room shows only in what is written.
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_ROOM))
    except OSError:
        return False
    return True


_ROOM = 1 << 16


def _link(cache: Path, other: Path) -> None:
    for pattern in _READ_ONLY:
        for found in cache.glob(pattern):
            link = other / found.relative_to(cache)
            link.parent.mkdir(exist_ok=True)
            link.symlink_to(found)
