"""The process' standard streams, which may be closed, full, or limited to few characters."""

import io
import os
import sys

from gptloom.model.errors import UserError


def prepare() -> None:
    """Prepare the standard streams such that a command can use them.

    Raises
    ------
    UserError
        Standard output is closed.
    """
    closed = [name for name in ("stdin", "stdout", "stderr") if getattr(sys, name) is None]
    for name in closed:
        # In this order each gets its own number, which no file opened later may have.
        descriptor = os.open(os.devnull, os.O_RDWR)
        setattr(sys, name, os.fdopen(descriptor, "r" if name == "stdin" else "w"))
    if "stdout" in closed:
        raise UserError("standard output is closed: leave it open, or send it to /dev/null")
    # Characters that a terminal lacks must not end a run that has all but printed its result.
    lenient = sys.stdout.errors not in ("strict", "surrogateescape")
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(_StandardOutput(sys.stdout.fileno(), "wb", closefd=False)),
        encoding=sys.stdout.encoding,
        errors=sys.stdout.errors if lenient else "replace",
        line_buffering=sys.stdout.line_buffering,
        write_through=sys.stdout.write_through,
    )


def finish() -> OSError | None:
    """Write the rest of the output, and return the error of standard output, if there is one.

    Python flushes once more when it ends, but does not complain any more then.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return error
    return None


class _StandardOutput(io.FileIO):
    """A file whose errors have a name, which those of open descriptors lack."""

    def write(self, data):
        """Write as much as fits."""
        try:
            return super().write(data)
        except OSError as error:
            error.filename = "standard output"
            raise
