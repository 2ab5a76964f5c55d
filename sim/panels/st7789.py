"""A 1.3 inch module with an ST7789: 240x240 dots in colour, four-wire serial line.

Taken from Sitronix's ST7789V datasheet, version 1.3: the commands, the timing of the 4-line serial
interface and of the reset, and the pauses around SLPOUT.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gptloom.sim.panels.base import NEVER, PanelError
from gptloom.sim.panels.serial import SerialModel, Window

_MINIMA = {
    "TSCYCW": 66e-9,
    "TSLW": 15e-9,
    "TSHW": 15e-9,
    "TSDS": 10e-9,
    "TSDH": 10e-9,
    "TDCS": 10e-9,
    "TDCH": 10e-9,
    "TCSS": 15e-9,
    "TCSH": 15e-9,
    "TCHW": 40e-9,
    "TRW": 10e-6,
    "reset to a command": 5e-3,
    "reset to SLPOUT": 120e-3,
    "SLPOUT to a command": 5e-3,
}
_ROLES = {
    "cycle": "TSCYCW",
    "low": "TSLW",
    "high": "TSHW",
    "data setup": "TSDS",
    "data hold": "TSDH",
    "dc setup": "TDCS",
    "dc hold": "TDCH",
    "cs setup": "TCSS",
    "cs hold": "TCSH",
    "cs high": "TCHW",
    "reset": "TRW",
}
_ROWS, _COLUMNS, _VISIBLE = 320, 240, 240
_KNOWN = (0x00, 0x11, 0x13, 0x20, 0x21, 0x28, 0x29, 0x2A, 0x2B, 0x2C, 0x36, 0x3A)


class ST7789Model(SerialModel):
    """The module, with 16 bits per dot. Its glass shows the written colours if the chip inverts."""

    name = "ST7789"
    cell, dot, tops = 15, (2, 4), (80, 144)

    def __init__(self, period: float, *, strict: bool = True):
        super().__init__(period, _MINIMA, _ROLES, strict=strict)
        # After power-on the memory holds anything; a reset leaves it unchanged.
        self._memory = np.random.default_rng(7789).integers(
            0, 1 << 16, (_ROWS, _COLUMNS), np.uint16
        )
        self._reset(0)
        self._reset_at = NEVER
        self._look(0)

    def _reset(self, cycle: int) -> None:
        self._reset_at, self._woken_at = cycle, NEVER
        self._awake = self._on = self._inverts = False
        self._code, self._parameters = 0, []
        self._settings = {0x36: [0], 0x3A: [0x66]}
        self._fast, self._slow = (0, _COLUMNS - 1), (0, _ROWS - 1)
        self._window = Window(self._fast, self._slow)
        self._odd = np.zeros(0, np.uint8)

    def _command(self, byte: int, cycle: int) -> None:
        self._require("reset to a command", cycle - self._reset_at, cycle)
        self._require("SLPOUT to a command", cycle - self._woken_at, cycle)
        self._code, self._parameters = byte, []
        if byte not in _KNOWN:
            self._complain(PanelError(f"{self.name}: the command {byte:#04x} is not modelled"))
        elif byte == 0x11:
            self._require("reset to SLPOUT", cycle - self._reset_at, cycle)
            self._awake, self._woken_at = True, cycle
        elif byte in (0x20, 0x21):
            self._inverts = byte == 0x21
        elif byte in (0x28, 0x29):
            self._on = byte == 0x29
        elif byte == 0x2C:
            self._window = Window(self._fast, self._slow)
            self._odd = self._odd[:0]

    def _data(self, data: NDArray[np.uint8], cycle: int) -> None:
        if self._code == 0x2C:
            self._write(data)
            return
        self._parameters += data.tolist()
        if self._code in self._settings:
            self._settings[self._code] = self._parameters
        elif self._code in (0x2A, 0x2B) and len(self._parameters) == 4:
            a, b, c, d = self._parameters
            if self._code == 0x2A:
                self._fast = (a << 8 | b, c << 8 | d)
            else:
                self._slow = (a << 8 | b, c << 8 | d)

    def _write(self, data: NDArray[np.uint8]) -> None:
        if self._settings[0x3A][0] & 7 != 5:
            self._complain(PanelError(f"{self.name}: only 16 bits a dot are modelled"))
            return
        data = np.concatenate([self._odd, data])
        whole = len(data) // 2 * 2
        self._odd = data[whole:]
        across, down = self._window.places(whole // 2)
        turn = self._settings[0x36][0]
        columns, rows = (down, across) if turn & 0x20 else (across, down)
        columns = _COLUMNS - 1 - columns if turn & 0x40 else columns
        rows = _ROWS - 1 - rows if turn & 0x80 else rows
        self._memory[rows, columns] = data[:whole].view(">u2")

    def _seen(self) -> NDArray[np.uint16] | None:
        """Return the dots as people see them; None if dark."""
        if not (self._awake and self._on):
            return None
        dots = self._memory[:_VISIBLE]
        return dots if self._inverts else ~dots

    def _state(self) -> bytes | None:
        seen = self._seen()
        return None if seen is None else seen.tobytes()

    def _dots(self) -> NDArray[np.bool_] | None:
        seen = self._seen()
        return None if seen is None else seen != 0

    def picture(self) -> NDArray[np.uint8]:
        """Draw the dots, one pixel each."""
        seen = self._seen()
        if seen is None:
            return np.zeros((_VISIBLE, _COLUMNS, 3), np.uint8)
        red, green, blue = seen >> 11, seen >> 5 & 63, seen & 31
        return np.stack([red * 8, green * 4, blue * 8], axis=-1).astype(np.uint8)
