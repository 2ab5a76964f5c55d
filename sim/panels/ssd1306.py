"""A 0.96 inch module with an SSD1306: 128x64 white dots, four-wire serial line.

Taken from Solomon Systech's datasheet, rev. 1.1: the commands, the timing of the four-wire serial
interface and the power-up.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gptloom.sim.panels.base import PanelError
from gptloom.sim.panels.serial import Window
from gptloom.sim.panels.solomon import SolomonModel

_MINIMA = {
    "tcycle": 100e-9,
    "tAS": 15e-9,
    "tAH": 15e-9,
    "tCSS": 20e-9,
    "tCSH": 10e-9,
    "tDSW": 15e-9,
    "tDHW": 15e-9,
    "tCLKL": 20e-9,
    "tCLKH": 20e-9,
    "RES# low": 3e-6,
}
_PARAMETERS = {
    **{0x20: 1, 0x21: 2, 0x22: 2, 0x81: 1, 0x8D: 1, 0xA8: 1},
    **{0xD3: 1, 0xD5: 1, 0xD9: 1, 0xDA: 1, 0xDB: 1},
    **dict.fromkeys((*range(0x40, 0x80), 0xA0, 0xA1, *range(0xA4, 0xA8), 0xAE, 0xAF), 0),
    **dict.fromkeys((0xC0, 0xC8, 0xE3), 0),
}
_LIT, _UNLIT = (225, 240, 255), (6, 8, 12)


class SSD1306Model(SolomonModel):
    """The module: an empty picture is dark, and so is one without the charge pump."""

    name = "SSD1306"
    cell, dot, tops = 8, (1, 2), (16, 48)
    parameters = _PARAMETERS

    def __init__(self, period: float, *, strict: bool = True):
        super().__init__(period, _MINIMA, strict=strict)
        # After power-on the memory holds anything; a reset leaves it unchanged.
        self._memory = np.random.default_rng(1306).integers(0, 2, (64, 128)).astype(bool)
        self._reset(0)
        self._look(0)

    def _reset(self, cycle: int) -> None:
        super()._reset(cycle)
        self._settings = {0x20: [2], 0x8D: [0x10], 0xA8: [63], 0xD3: [0], 0xDA: [0x12]}
        self._flags = {"on": False, "all": False, "inverted": False}
        self._mirrored = [True, True]  # columns, rows: modules are mounted the other way round
        self._start = 0
        self._columns, self._pages = (0, 127), (0, 7)
        self._place()

    def _place(self) -> None:
        mode = self._settings[0x20][0] & 3
        first, second = (self._pages, self._columns) if mode == 1 else (self._columns, self._pages)
        self._window = Window(first, second)

    def _obey(self, code: int, parameters: list[int]) -> None:
        if code in (0x20, 0x21, 0x22):
            if code == 0x21:
                self._columns = (parameters[0] & 127, parameters[1] & 127)
            elif code == 0x22:
                self._pages = (parameters[0] & 7, parameters[1] & 7)
            else:
                self._settings[code] = parameters
            self._place()
        elif parameters:
            self._settings[code] = parameters
        elif 0x40 <= code < 0x80:
            self._start = code & 63
        elif code in (0xA0, 0xA1):
            self._mirrored[0] = code == 0xA0
        elif code in (0xC0, 0xC8):
            self._mirrored[1] = code == 0xC0
        elif code in (0xA4, 0xA5, 0xA6, 0xA7, 0xAE, 0xAF):
            self._flags[{0xA4: "all", 0xA6: "inverted", 0xAE: "on"}[code & ~1]] = bool(code & 1)

    def _data(self, data: NDArray[np.uint8], cycle: int) -> None:
        fast, slow = self._window.places(len(data))
        pages, columns = (fast, slow) if self._settings[0x20][0] & 3 == 1 else (slow, fast)
        bits = np.unpackbits(data[:, None], axis=1, bitorder="little").astype(bool)
        self._memory.reshape(8, 8, 128)[pages, :, columns] = bits

    def _state(self) -> bytes | None:
        dots = self._dots()
        return None if dots is None else np.packbits(dots).tobytes()

    def _dots(self) -> NDArray[np.bool_] | None:
        if not self._flags["on"] or self._settings[0x8D][0] != 0x14:
            return None
        rows = self._settings[0xA8][0] + 1
        if rows != 64 or self._settings[0xDA][0] != 0x12:
            raise PanelError(f"{self.name}: 64 rows need the settings A8 3F and DA 12")
        dots = np.roll(self._memory, -(self._start + self._settings[0xD3][0]), axis=0)
        dots = dots[:: -1 if self._mirrored[1] else 1, :: -1 if self._mirrored[0] else 1]
        return (dots | self._flags["all"]) ^ self._flags["inverted"]

    def picture(self) -> NDArray[np.uint8]:
        """Draw the dots, one pixel each."""
        dots = self._dots()
        lit = np.zeros((64, 128), np.intp) if dots is None else dots.astype(np.intp)
        return np.array([_UNLIT, _LIT], np.uint8)[lit]
