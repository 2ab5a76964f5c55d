"""The one exception that reaches people as a sentence instead of a traceback."""


class UserError(Exception):
    """Bad input from the person at the keyboard.

    The message is one sentence that names the fault and the remedy. The command line prints it
    to standard error and exits with code 2; nothing is left half-written.
    """
