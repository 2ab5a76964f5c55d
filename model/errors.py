"""Errors and notices that reach people as a sentence instead of a traceback."""

import errno


class UserError(Exception):
    """Bad input from the person at the keyboard.

    The message is one sentence that names the fault and the remedy. The command line prints it
    to standard error and exits with code 2; nothing is left half-written.
    """


class MissingPackageError(UserError):
    """An optional package is not installed; the message names the extra that has it."""


class UserNotice(UserWarning):
    """A doubt that the person at the keyboard should know of, but that does not stop the work.

    Passed to `warnings.warn`. The message is one sentence; the command line prints it to standard
    error.
    """


_REMEDIES = {
    errno.EACCES: "name a place where you may do that",
    errno.EPERM: "name a place where you may do that",
    errno.EROFS: "name a place where you may do that",
    errno.ENOSPC: "make room on that disk",
    errno.EDQUOT: "make room for your files on that disk",
    errno.EMFILE: "allow more open files",
    errno.ENFILE: "allow more open files",
    errno.ENOMEM: "make room in its memory",
}


def explain(error: OSError) -> str:
    """Return the end of a sentence: why the system refused something, and what to do."""
    return f"({error.strerror or error}): {_REMEDIES.get(error.errno, 'see to that')}"
