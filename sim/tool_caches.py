"""A cache folder for tools that cannot run without one, if the user's cannot be written."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import platformdirs

_READ_ONLY = ("gptloom", "wasmtime", "YoWASP/*")
"""Caches that are useful without being written to."""


@contextmanager
def usable_caches() -> Iterator[None]:
    """Give this process and its children a home and a cache folder while the context lasts.

    Yosys, nextpnr and zig keep compiled files there, and fail if they cannot. If there is no such
    folder, or it cannot be written, a temporary one takes its place in the environment; files in
    the original one are still read.
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
        # Only writing shows whether there is room.
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
