"""Standard input, output and error of the process, which may be closed, full, or of few letters."""

import io
import os
import sys

from gptloom.model.errors import UserError


def prepare() -> None:
    """Make the standard streams such that a command can use them.

    Raises
    ------
    UserError
        Standard output is closed.
    """
    closed = [name for name in ("stdin", "stdout", "stderr") if getattr(sys, name) is None]
    for name in closed:
        # In this order each gets its number, which no other file that is opened may have.
        descriptor = os.open(os.devnull, os.O_RDWR)
        setattr(sys, name, os.fdopen(descriptor, "r" if name == "stdin" else "w"))
    if "stdout" in closed:
        raise UserError("standard output is closed: leave it open, or send it to /dev/null")
    # Letters that a terminal lacks must not end a run that has all but printed its result.
    lenient = sys.stdout.errors not in ("strict", "surrogateescape")
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(_StandardOutput(sys.stdout.fileno(), "wb", closefd=False)),
        encoding=sys.stdout.encoding,
        errors=sys.stdout.errors if lenient else "replace",
        line_buffering=sys.stdout.line_buffering,
        write_through=sys.stdout.write_through,
    )


def finish() -> OSError | None:
    """Write the rest of what was printed, and return what is wrong with standard output, if it is.

    Python flushes once more when it ends, and complains no more then.
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
        """Write what fits."""
        try:
            return super().write(data)
        except OSError as error:
            error.filename = "standard output"
            raise
