"""Files written for people: whole or not at all, and directly to anything but a plain file."""

import errno
import json
import os
import re
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from typing import Any, BinaryIO

from gptloom.model.errors import UserError, explain

STDOUT = "-"
"""Path that stands for standard output."""


def write_json(path: str | Path, value: Any) -> None:
    """Write an object as indented JSON; see :func:`writing`."""
    write_file(path, (json.dumps(value, indent=2) + "\n").encode())


def write_file(path: str | Path, content: bytes) -> None:
    """Write a file; see :func:`writing`."""
    with writing(path) as file:
        file.write(content)


@contextmanager
def writing(path: str | Path) -> Iterator[BinaryIO]:
    """Open a file for writing; it appears whole when the context ends, or not at all.

    A plain file keeps its mode, and its content until then; a new one gets its mode from the
    umask. A link stays, and the file that it leads to is written. Pipes, devices and open
    descriptors (``/dev/stdout``, or `STDOUT`) cannot be replaced, so they are written to at once.

    Raises
    ------
    UserError
        The file cannot be written; the previous content is untouched.
    """
    with _explained(path), _open(Path(path)) as file:
        yield file


def check_writable(path: str | Path) -> None:
    """Find out now whether a file can be written, before its content is made.

    Raises
    ------
    UserError
        See :func:`writing`, as far as can be told without writing.
    """
    target = Path(os.path.realpath(path))
    if _descriptor(path) is not None or _is_special(target):
        return
    for folder in (Path(path).parent, target.parent):
        if not folder.is_dir():
            raise UserError(f"there is no folder {folder}: make it, or name another file")
    with _explained(path):
        _check_replaceable(target)
        tempfile.TemporaryFile(dir=target.parent).close()


def is_stdout(path: str | Path) -> bool:
    """Return whether a path leads to standard output."""
    return _descriptor(path) == 1


def is_plain(path: str | Path) -> bool:
    """Return whether a path leads to a plain file or to nothing, so a file may lie beside it."""
    return _descriptor(path) is None and not _is_special(Path(os.path.realpath(path)))


def stamped(content: bytes, before: bytes = b"", after: bytes = b"") -> bytes:
    """Return content with a last line by which :func:`is_ours` recognises it.

    Parameters
    ----------
    content
        Content in a format that has comments, or whose readers stop at its own end mark.
    before, after
        Short texts that turn the line into a comment.
    """
    content = content.removesuffix(b"\n")
    return content + b"\n" + before + b"made by gptloom " + _digest(content) + after + b"\n"


def is_ours(path: Path) -> bool:
    """Return whether nothing is at a path, or only a file that :func:`stamped` made, unchanged.

    Files that nobody has named, such as one beside another, may be written only there.
    """
    if not os.path.lexists(path):
        return True
    if not os.path.isfile(path):
        return False
    content = path.read_bytes()
    stamp = _STAMP.search(content)
    return stamp is not None and stamp[1] == _digest(content[: stamp.start()])


_STAMP = re.compile(rb"\n[^\n]*made by gptloom ([0-9a-f]{32})[^\n]*\n\Z")


def _digest(content: bytes) -> bytes:
    return sha256(content).hexdigest()[:32].encode()


@contextmanager
def _explained(path: str | Path) -> Iterator[None]:
    """Turn the system's errors into a sentence about a file."""
    try:
        yield
    except BrokenPipeError:
        raise  # a reader that leaves is not a fault
    except OSError as error:
        name = "standard output" if is_stdout(path) else path
        raise UserError(f"{name} cannot be written {explain(error)}") from None


@contextmanager
def _open(path: Path) -> Iterator[BinaryIO]:
    descriptor = _descriptor(path)
    if descriptor is not None:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()  # earlier output comes first
        # Not opened anew by name, which would begin at the start of its file.
        with os.fdopen(os.dup(descriptor), "wb") as file:
            yield file
        return
    target = Path(os.path.realpath(path))
    if _is_special(target):
        with target.open("wb") as file:
            yield file
        return
    mode = _check_replaceable(target)
    temporary = target.with_name(f".gptloom-{token_hex(8)}")
    try:
        with temporary.open("xb") as file:
            if mode is not None:
                os.chmod(file.fileno(), mode)
            yield file
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _check_replaceable(target: Path) -> int | None:
    """Return the mode of a plain file, or None if there is none yet."""
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    # A rename does not need the right to write to the file that it replaces.
    if not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, "it is read-only")
    return stat.S_IMODE(mode)


def _is_special(target: Path) -> bool:
    """Return whether a pipe, a device or the like is there."""
    try:
        mode = target.stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _descriptor(path: str | Path) -> int | None:
    """Return the open descriptor of this process that a path leads to, if any."""
    at = os.fspath(path)
    if at == STDOUT:
        return 1
    own = {os.path.realpath(folder) for folder in ("/dev/fd", "/proc/self/fd")}
    for _ in range(_MOST_LINKS):
        folder, name = os.path.split(at)
        folder = os.path.realpath(folder)
        if folder in own:
            return int(name) if name.isdecimal() else None
        try:
            at = os.path.join(folder, os.readlink(os.path.join(folder, name)))
        except OSError:
            break
    return None


_MOST_LINKS = 40
"""Number of links followed before a loop is assumed, as on Linux."""
