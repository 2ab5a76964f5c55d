"""A serial port of this machine, for :class:`gptloom.boards.link.Link`."""

from __future__ import annotations

import time

from gptloom.model.errors import UserError

PATIENCE = 0.5
"""Seconds: a commit takes some milliseconds, and a USB adapter as many for a byte."""

EXTRA = "pip install 'gptloom[serial]'"


class SerialPort:
    """A pyserial port.

    Parameters
    ----------
    name
        Name such as ``/dev/ttyUSB0`` or ``COM3``, or one of pyserial's URLs.
    baud
        Bits per second.

    Attributes
    ----------
    patience
        Seconds after which an answer is no longer expected.

    Raises
    ------
    UserError
        If pyserial is missing, or the port does not open.
    """

    def __init__(self, name: str, baud: int):
        try:
            import serial
        except ImportError:
            raise UserError(f"a serial port needs pyserial: run `{EXTRA}`") from None
        self.patience = PATIENCE
        self._error = serial.SerialException
        self._name = name
        try:
            self._port = serial.serial_for_url(name, baud, timeout=0, write_timeout=5)
        except (serial.SerialException, ValueError) as error:
            raise UserError(
                f"the port {name} does not open ({error}): see that the board is plugged in, that "
                "no other program uses it, and that you may (on Linux: group dialout)"
            ) from None
        self._port.reset_input_buffer()

    def now(self) -> float:
        """Return a time in seconds."""
        return time.monotonic()

    def write(self, data: bytes) -> None:
        """Send bytes."""
        try:
            self._port.write(data)
        except self._error as error:
            raise self._gone(error) from None

    def read(self, seconds: float = 0.0) -> bytes:
        """Return the bytes that have come, waiting at most this many seconds for the first."""
        try:
            self._port.timeout = seconds
            first = self._port.read(1)
            return first + self._port.read(self._port.in_waiting) if first else b""
        except (self._error, OSError) as error:
            raise self._gone(error) from None

    def close(self) -> None:
        """Release the port."""
        self._port.close()

    def _gone(self, error: Exception) -> UserError:
        return UserError(f"the port {self._name} is gone ({error}): plug the board in again")
