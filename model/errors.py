"""What reaches people as a sentence instead of a traceback."""


class UserError(Exception):
    """Bad input from the person at the keyboard.

    The message is one sentence that names the fault and the remedy. The command line prints it
    to standard error and exits with code 2; nothing is left half-written.
    """


class UserNotice(UserWarning):
    """A doubt that the person at the keyboard should know of, with which work goes on.

    Given to `warnings.warn`. The message is one sentence; the command line prints it to standard
    error.
    """
