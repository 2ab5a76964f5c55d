"""The file of a sweep: a header, then a line of JSON for every finished point.

A line is written as soon as its point is finished, so that an interrupted sweep continues where it
stopped; a line that was cut off is dropped. Points of several sweeps may share a file.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from zlib import crc32

from gptloom.boards.calibration import CALIBRATION
from gptloom.boards.explore.point import Outcome, Point
from gptloom.model.errors import UserError, explain
from gptloom.model.files import is_plain

FORMAT, VERSION = "gptloom-sweep", 1


class Store:
    """Finished points, in memory and in a file; as a context it keeps other writers out.

    Parameters
    ----------
    path
        Path of the file; it is created if it is missing.

    Raises
    ------
    UserError
        If it cannot be written, is not a sweep's file, or was made with another estimate. The file
        is left as it was.
    """

    def __init__(self, path: Path):
        self._path = path
        self._outcomes: dict[Point, Outcome] = {}
        if not is_plain(path):
            self._refuse("is no file of a sweep")
        try:
            self._file = path.open("a+b")
        except OSError as error:
            raise UserError(f"{path} cannot be written {explain(error)}") from None
        try:
            self._read()
        except BaseException:
            self._file.close()
            raise

    def _read(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"another sweep is writing {self._path}: wait for it, or choose another --out"
            ) from None
        except OSError:
            pass  # a file system without locks
        self._file.seek(0)
        content = self._file.read()
        whole = content[: content.rfind(b"\n") + 1]
        lines = whole.splitlines()
        if lines:
            self._check_header(lines[0])
            for number, line in enumerate(lines[1:], 2):
                self._take(number, line)
        elif not _header().startswith(content):
            self._refuse("is no file of a sweep")
        if len(whole) < len(content):
            os.ftruncate(self._file.fileno(), len(whole))
        if not lines:
            self._file.write(_header())
            self._flush()

    def _check_header(self, line: bytes) -> None:
        try:
            said = json.loads(line)
            form = said.pop("format"), said.pop("version")
        except (ValueError, AttributeError, KeyError, TypeError):
            self._refuse("is no file of a sweep")
        if form != (FORMAT, VERSION):
            self._refuse("is no file of a sweep that this version reads")
        if said != _made_by():
            self._refuse("was made with another calibration of the estimate")

    def _take(self, number: int, line: bytes) -> None:
        try:
            said = json.loads(line)
            outcome = Outcome(**(said | {"point": Point(**said["point"])}))
        except (ValueError, KeyError, TypeError):
            self._refuse(f"holds no finished point in line {number}")
        self._outcomes[outcome.point] = outcome

    def _refuse(self, why: str) -> None:
        raise UserError(f"{self._path} {why}: choose another --out, or move it away")

    def __contains__(self, point: Point) -> bool:
        return point in self._outcomes

    def __getitem__(self, point: Point) -> Outcome:
        return self._outcomes[point]

    @property
    def outcomes(self) -> Collection[Outcome]:
        """All outcomes, in the order in which they were added."""
        return self._outcomes.values()

    def __len__(self) -> int:
        return len(self._outcomes)

    def add(self, outcome: Outcome) -> None:
        """Add a finished point; when this returns it is in the file.

        Raises
        ------
        ValueError
            If the point is finished already.
        """
        if outcome.point in self:
            raise ValueError(f"{outcome.point.key} is finished already")
        self._file.write(json.dumps(asdict(outcome)).encode() + b"\n")
        # Before it is on the disk: an interruption may come while that is waited for.
        self._outcomes[outcome.point] = outcome
        self._flush()

    def _flush(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_) -> None:
        self._file.close()


def _made_by() -> dict[str, str]:
    """Return whatever the figures depend on besides the point."""
    return {"calibration": f"{crc32(CALIBRATION.read_bytes()):08x}"}


def _header() -> bytes:
    return json.dumps({"format": FORMAT, "version": VERSION, **_made_by()}).encode() + b"\n"
