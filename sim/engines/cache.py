"""Compiled simulations that are kept for later runs, if there is a place for them.

Parallel processes and several users may share the folder. If it cannot be written it is only read,
and anything missing from it is made in a temporary folder.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import tempfile
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import platformdirs

from gptloom.model.errors import UserError
from gptloom.model.files import write_file

from .base import Progress

_KEPT = 100


def cache_folder() -> Path:
    """Return the folder of compiled simulations, below the user's cache folder.

    It need not exist, and it may not be writable.
    """
    try:
        folder = Path(platformdirs.user_cache_dir("gptloom")) / "simulations"
    except RuntimeError:  # without a home there is none
        folder = Path()
    # Earlier platformdirs then return "~", a folder that would be made in the current one.
    return folder if folder.is_absolute() else Path(os.devnull) / "simulations"


def find_kept(cache: Path, key: str, suffix: str, progress: Progress) -> Path | None:
    """Find a file that `keep` has put into the cache; damaged ones are removed."""
    for entry in cache.glob(f"{key}-*{suffix}"):
        try:
            whole = entry.name == f"{key}-{digest(entry.read_bytes())}{suffix}"
        except OSError:
            continue
        if whole:
            with suppress(OSError):  # another user's
                os.utime(entry)
            return entry
        progress("A damaged compiled simulation is built again")
        with suppress(OSError):
            entry.unlink()
    return None


def keep(cache: Path, key: str, built: Path) -> Path:
    """Copy a built file into the cache, and remove files from it that were not used for long.

    Returns
    -------
    Path
        The copy; or the file itself, if the cache cannot be written.
    """
    return keep_content(cache, key, built.suffix, built.read_bytes()) or built


def keep_content(cache: Path, key: str, suffix: str, content: bytes) -> Path | None:
    """Write a file with this content into the cache, as `keep` does; None if it cannot be."""
    entry = cache / f"{key}-{digest(content)}{suffix}"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        write_file(entry, content)
    except (OSError, UserError):
        return None
    _prune(cache, suffix)
    return entry


def load(library: Path) -> ctypes.CDLL:
    """Load a shared object, whose file may be removed afterwards.

    Raises
    ------
    UserError
        If the machine does not allow it to be loaded.
    """
    try:
        return ctypes.CDLL(str(library))
    except OSError as error:
        reason = error
    # Home folders are often on disks without execution (noexec): then try a copy on another one.
    with tempfile.TemporaryDirectory(prefix="gptloom-") as name:
        try:
            return ctypes.CDLL(shutil.copy(library, name))
        except OSError:
            raise UserError(
                f"the compiled simulation cannot be loaded ({reason}): set TMPDIR to a folder on a "
                "disk from which programs may run, or choose the engine pysim"
            ) from None


def digest(*parts: bytes) -> str:
    """Return a digest that distinguishes these contents from all others, for file names."""
    sha = hashlib.sha256()
    for part in parts:
        sha.update(len(part).to_bytes(8, "little"))
        sha.update(part)
    return sha.hexdigest()[:24]


def code_digest(*packages: str) -> str:
    """Return a digest of packages' code, and of the texts beside it."""
    folders = [Path(place) for name in packages for place in import_module(name).__path__]
    kinds = ("*.py", "*.cc", "*.txt")
    files = sorted(file for folder in folders for kind in kinds for file in folder.rglob(kind))
    return digest(*(file.read_bytes() for file in files))


def _prune(cache: Path, suffix: str) -> None:
    # Every change of a design leaves an entry behind; the most recently used ones are kept.
    def last_used(entry: Path) -> float:
        try:
            return entry.stat().st_mtime
        except OSError:
            return 0.0

    for entry in sorted(cache.glob(f"*{suffix}"), key=last_used, reverse=True)[_KEPT:]:
        with suppress(OSError):
            entry.unlink()
