"""Compiled simulations that are kept for the next time, where there is a place for them.

Parallel processes, and users, may share the folder. One that cannot be written is read, and what
is not in it is made in a temporary folder.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

import platformdirs

from gptloom.model.errors import UserError
from gptloom.model.files import write_file

from .base import Progress

_KEPT = 100


def cache_folder() -> Path:
    """Return the folder of compiled simulations, below the user's cache folder.

    It need not be there, and it may be that it cannot be written.
    """
    try:
        folder = Path(platformdirs.user_cache_dir("gptloom")) / "simulations"
    except RuntimeError:  # without a home there is none
        folder = Path()
    # Earlier platformdirs call it "~" then, which would be made in whatever folder is the current.
    return folder if folder.is_absolute() else Path(os.devnull) / "simulations"


def find_kept(cache: Path, key: str, suffix: str, progress: Progress) -> Path | None:
    """Find what `keep` has put into the cache; what is damaged is removed."""
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
    """Copy a built file into the cache, whence those go that were not used for long.

    Returns
    -------
    Path
        The copy; or the file itself, if the cache takes none.
    """
    content = built.read_bytes()
    entry = cache / f"{key}-{digest(content)}{built.suffix}"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        write_file(entry, content)
    except (OSError, UserError):
        return built
    _prune(cache, built.suffix)
    return entry


def load(library: Path) -> ctypes.CDLL:
    """Load a shared object, which need not be there afterwards.

    Raises
    ------
    UserError
        If the machine does not let it be loaded.
    """
    try:
        return ctypes.CDLL(str(library))
    except OSError as error:
        reason = error
    # Disks that execute nothing (noexec) are common for home folders: from another one, then.
    with tempfile.TemporaryDirectory(prefix="gptloom-") as name:
        try:
            return ctypes.CDLL(shutil.copy(library, name))
        except OSError:
            raise UserError(
                f"the compiled simulation cannot be loaded ({reason}): set TMPDIR to a folder on a "
                "disk from which programs may run, or choose the engine pysim"
            ) from None


def digest(*parts: bytes) -> str:
    """Return what tells these contents from all others, for names of files."""
    sha = hashlib.sha256()
    for part in parts:
        sha.update(len(part).to_bytes(8, "little"))
        sha.update(part)
    return sha.hexdigest()[:24]


def _prune(cache: Path, suffix: str) -> None:
    # Every change of a design leaves an entry behind; those used last are kept.
    def last_used(entry: Path) -> float:
        try:
            return entry.stat().st_mtime
        except OSError:
            return 0.0

    for entry in sorted(cache.glob(f"*{suffix}"), key=last_used, reverse=True)[_KEPT:]:
        with suppress(OSError):
            entry.unlink()
