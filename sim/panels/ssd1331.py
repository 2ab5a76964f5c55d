"""A 0.95 inch module with an SSD1331: 96x64 dots in colour, four-wire serial line.

Taken from Solomon Systech's datasheet, rev. 1.2: the commands, the timing of the four-wire serial
interface.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gptloom.sim.panels.base import PanelError
from gptloom.sim.panels.serial import Window
from gptloom.sim.panels.solomon import SolomonModel

_MINIMA = {
    "tcycle": 150e-9,
    "tAS": 40e-9,
    "tAH": 40e-9,
    "tCSS": 75e-9,
    "tCSH": 60e-9,
    "tDSW": 40e-9,
    "tDHW": 40e-9,
    "tCLKL": 75e-9,
    "tCLKH": 75e-9,
    "RES# low": 3e-6,
}
_PARAMETERS = {
    **{0x15: 2, 0x75: 2, 0xB8: 32},
    **dict.fromkeys((0x81, 0x82, 0x83, 0x87, 0x8A, 0x8B, 0x8C, 0xA0, 0xA1, 0xA2, 0xA8, 0xAD), 1),
    **dict.fromkeys((0xB0, 0xB1, 0xB3, 0xBB, 0xBE), 1),
    **dict.fromkeys((*range(0xA4, 0xA8), 0xAC, 0xAE, 0xAF, 0xB9, 0xBC, 0xBD, 0xE3), 0),
}


class SSD1331Model(SolomonModel):
    """The module, in 256 colours: red in the upper 3 bits, green in 3, blue in 2.

    Its glass is connected such that A0 is xx11xx1x in use, and its supply is external (AD 8E).
    """

    name = "SSD1331"
    cell, dot, tops = 6, (1, 2), (16, 48)
    parameters = _PARAMETERS

    def __init__(self, period: float, *, strict: bool = True):
        super().__init__(period, _MINIMA, strict=strict)
        # After power-on the memory holds anything; a reset leaves it unchanged.
        self._memory = np.random.default_rng(1331).integers(0, 256, (64, 96), np.uint8)
        self._reset(0)
        self._look(0)

    def _reset(self, cycle: int) -> None:
        super()._reset(cycle)
        self._settings = {0x15: [0, 95], 0x75: [0, 63], 0xA0: [0x40], 0xA1: [0], 0xA2: [0]}
        self._settings |= {0xA8: [63], 0xAD: [0x8F]}
        self._on, self._mode = False, 0xA4
        self._place()

    def _place(self) -> None:
        columns, rows = (tuple(self._settings[code]) for code in (0x15, 0x75))
        self._downwards = bool(self._settings[0xA0][0] & 1)
        self._window = Window(rows, columns) if self._downwards else Window(columns, rows)

    def _obey(self, code: int, parameters: list[int]) -> None:
        if parameters:
            self._settings[code] = parameters
            if code in (0x15, 0x75, 0xA0):
                self._place()
        elif code in (0xAC, 0xAE, 0xAF):
            self._on = code != 0xAE
        elif code in (0xA4, 0xA5, 0xA6, 0xA7):
            self._mode = code

    def _data(self, data: NDArray[np.uint8], cycle: int) -> None:
        if self._settings[0xA0][0] >> 6:
            self._complain(PanelError(f"{self.name}: only 256 colours are modelled"))
            return
        fast, slow = self._window.places(len(data))
        rows, columns = (fast, slow) if self._downwards else (slow, fast)
        self._memory[rows, columns] = data

    def _state(self) -> bytes | None:
        seen = self._seen()
        return None if seen is None else seen.tobytes()

    def _seen(self) -> NDArray[np.uint8] | None:
        """Return the dots as bytes, as people see them; None if dark."""
        if not self._on or self._mode == 0xA6:
            return None
        setting = self._settings[0xA0][0]
        wrong = [code for code, value in ((0xA1, 0), (0xA2, 0), (0xA8, 63), (0xAD, 0x8E))
                 if self._settings[code] != [value]]  # fmt: skip
        if wrong or setting & 0x2C != 0x20:
            codes = ", ".join(f"{code:02X}" for code in wrong or [0xA0])
            raise PanelError(f"{self.name}: this module needs other settings of {codes}")
        dots = self._memory[:: 1 if setting & 0x10 else -1, :: 1 if setting & 0x02 else -1]
        if self._mode == 0xA5:
            return np.full_like(dots, 0xFF)
        return ~dots if self._mode == 0xA7 else dots

    def _dots(self) -> NDArray[np.bool_] | None:
        seen = self._seen()
        return None if seen is None else seen != 0

    def picture(self) -> NDArray[np.uint8]:
        """Draw the dots, one pixel each."""
        seen = self._seen()
        if seen is None:
            return np.zeros((64, 96, 3), np.uint8)
        red, green, blue = seen >> 5, seen >> 2 & 7, seen & 3
        return np.stack([red * 36, green * 36, blue * 85], axis=-1).astype(np.uint8)
