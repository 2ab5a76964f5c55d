"""A module of two lines of 16 characters with Hitachi's HD44780U, R/W at ground.

Everything is taken from the HD44780U datasheet (ADE-207-272(Z), rev. 0.0): instructions (table 6,
figure 10), initialisation (figure 24) and bus timing. The four lower data pins are not connected.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gptloom.hdl.display.font import GLYPHS
from gptloom.sim.panels.base import NEVER, Lines, PanelError, PanelModel

_BUS_5V = {"tcycE": 500e-9, "PWEH": 230e-9, "tAS": 40e-9, "tAH": 10e-9, "tDSW": 80e-9, "tH": 10e-9}
_BUS_3V = {
    **{"tcycE": 1000e-9, "PWEH": 450e-9, "tAS": 60e-9, "tAH": 20e-9},
    **{"tDSW": 195e-9, "tH": 10e-9},
}

_LINES = (0x00, 0x40)
_LINE_LENGTH = 40
_VISIBLE = 16

_ROM_A00 = {0x5C: "¥", 0x7E: "→", 0x7F: "←"}
"""Codes below 0x80 at which the usual character ROM differs from ASCII."""

_ARROWS = {
    "¥": bytes([0x15, 0x16, 0x7C, 0x16, 0x15]),
    "→": bytes([0x08, 0x08, 0x2A, 0x1C, 0x08]),
    "←": bytes([0x08, 0x1C, 0x2A, 0x08, 0x08]),
}
_BACKGROUND, _DOT_OFF, _DOT_ON = (150, 190, 40), (141, 180, 36), (30, 45, 20)


class HD44780Model(PanelModel):
    """The module, with the state that a panel keeps if only the chip driving it is reset.

    Parameters
    ----------
    period, strict
        See :class:`.PanelModel`.
    volts
        Supply voltage; below 4.5 V the bus is slower.
    oscillator_hz
        Frequency of the oscillator: typically 270 kHz, at least 190 kHz; the lower it is, the
        longer instructions take.
    four_bits, half_byte
        State in which the module was left: whether with four data lines, and the upper half of a
        byte that was already received.
    """

    name = "HD44780"
    pins = {"rs": 1, "e": 1, "d": 4}  # noqa: RUF012

    def __init__(
        self,
        period: float,
        *,
        volts: float = 3.3,
        oscillator_hz: float = 270e3,
        four_bits: bool = False,
        half_byte: int | None = None,
        strict: bool = True,
    ):
        slower = 270e3 / oscillator_hz
        bus = _BUS_5V if volts >= 4.5 else _BUS_3V
        minima = {
            "power-up wait": 15e-3 if volts >= 4.5 else 40e-3,
            "wait after the first function set": 4.1e-3,
            "wait after the second function set": 100e-6,
            "execution of clear or home": 1.52e-3 * slower,
            "execution of an instruction": 37e-6 * slower,
            "execution of a character": 37e-6 * slower + 1.5 / oscillator_hz,
        }
        super().__init__(period, bus | minima, strict=strict)
        self._four_bits, self._upper = four_bits or half_byte is not None, half_byte
        # Nothing is known of the memory after power-on.
        self._memory = np.full(128, 0xFF, np.uint8)
        self._address, self._in_memory = 0, True
        self._upwards, self._moves_display, self._shift = True, False, 0
        self._on, self._two_lines = False, False
        self._function_sets = 0
        self._busy: tuple[str, int] | None = ("power-up wait", 0)
        self._rose = self._fell = self._selected = self._driven = NEVER
        self._look(0)

    def _lines(self) -> Lines | None:
        if not (self._on and self._two_lines):
            return None
        first, second = (
            "".join(
                _character(self._memory[line + (self._shift + i) % _LINE_LENGTH])
                for i in range(_VISIBLE)
            )
            for line in _LINES
        )
        return first, second

    def _state(self) -> bytes | None:
        if not (self._on and self._two_lines):
            return None
        return self._memory.tobytes() + bytes([self._shift])

    def picture(self) -> NDArray[np.uint8]:
        """Draw the module's dots, 6 by 9 pixels per character."""
        cells = np.zeros((2, _VISIBLE, 9, 6), np.uint8)
        cells[:, :, :8, :5] = 1
        for line, text in enumerate(self._lines() or ()):
            for column, character in enumerate(text):
                glyph = GLYPHS.get(character) or _ARROWS.get(character) or b"\xff" * 5
                dots = np.unpackbits(np.frombuffer(glyph, np.uint8), bitorder="little")
                cells[line, column, :8, :5] += dots.reshape(5, 8).T
        dots = np.pad(cells.transpose(0, 2, 1, 3).reshape(18, -1), ((3, 2), (3, 2)))
        return np.array([_BACKGROUND, _DOT_OFF, _DOT_ON], np.uint8)[dots]

    def _changes(self, cycles: NDArray, levels: NDArray, before: NDArray) -> None:
        for cycle, now, old in zip(cycles.tolist(), levels.tolist(), before.tolist(), strict=True):
            self._change(cycle, now, old)

    def _change(self, cycle: int, now: int, old: int) -> None:
        rises = self._pin(now & ~old, "e")
        falls = self._pin(old & ~now, "e")
        if falls:
            self._require("PWEH", cycle - self._rose, cycle)
            self._require("tDSW", cycle - self._driven, cycle)
            self._fell = cycle
        if self._pin(now ^ old, "rs"):
            high = self._pin(old, "e") and not falls
            self._require("tAH", 0 if high else cycle - self._fell, cycle)
            self._selected = cycle
        if self._pin(now ^ old, "d"):
            if falls or not self._pin(old, "e"):
                self._require("tH", cycle - self._fell, cycle)
            self._driven = cycle
        if rises:
            self._require("tAS", cycle - self._selected, cycle)
            self._require("tcycE", cycle - self._rose, cycle)
            if self._busy:
                wait, since = self._busy
                self._require(wait, cycle - since, cycle)
            self._rose = cycle
        if falls:
            # The levels before this cycle, in which they may change.
            self._receive(self._pin(old, "rs"), self._pin(old, "d"), cycle)
            self._look(cycle)

    def _receive(self, rs: int, nibble: int, cycle: int) -> None:
        wait = None
        if not self._four_bits:
            wait = self._execute(rs, nibble << 4)
        elif self._upper is None:
            self._upper = nibble
        else:
            byte, self._upper = self._upper << 4 | nibble, None
            wait = self._execute(rs, byte)
        if self._function_sets < 3:
            if (rs, nibble) != (0, 3):
                self._complain(
                    PanelError(
                        f"{self.name}: begins with {nibble:#x} as write {self._function_sets + 1}, "
                        "but the initialisation begins with three function sets (0x3)"
                    )
                )
            self._function_sets += 1
            wait = {
                1: "wait after the first function set",
                2: "wait after the second function set",
                3: "execution of an instruction",
            }[self._function_sets]
        self._busy = (wait, cycle) if wait else None

    def _execute(self, rs: int, byte: int) -> str:
        """Execute an instruction; return the name of its time."""
        if rs:
            if self._in_memory:
                self._memory[self._address] = byte
            self._step(1 if self._upwards else -1)
            if self._in_memory and self._moves_display:
                self._shift = (self._shift + (1 if self._upwards else -1)) % _LINE_LENGTH
            return "execution of a character"
        if byte & 0x80:
            self._address, self._in_memory = byte & 0x7F, True
        elif byte & 0x40:
            self._address, self._in_memory = byte & 0x3F, False
        elif byte & 0x20:
            self._four_bits, self._two_lines = not byte & 0x10, bool(byte & 0x08)
        elif byte & 0x10:
            step = 1 if byte & 0x04 else -1
            if byte & 0x08:
                self._shift = (self._shift - step) % _LINE_LENGTH
            else:
                self._step(step)
        elif byte & 0x08:
            self._on = bool(byte & 0x04)
        elif byte & 0x04:
            self._upwards, self._moves_display = bool(byte & 0x02), bool(byte & 0x01)
        elif byte & 0x03:
            self._address, self._in_memory, self._shift = 0, True, 0
            if byte & 0x01 and not byte & 0x02:
                self._memory[:] = 0x20
                self._upwards = True
            return "execution of clear or home"
        return "execution of an instruction"

    def _step(self, step: int) -> None:
        if not self._in_memory:
            self._address = (self._address + step) % 64
            return
        # The two lines follow each other, in a circle.
        line = self._address >> 6
        place = line * _LINE_LENGTH + min(self._address & 0x3F, _LINE_LENGTH - 1) + step
        line, column = divmod(place % (2 * _LINE_LENGTH), _LINE_LENGTH)
        self._address = _LINES[line] + column


def _character(code: int) -> str:
    code = int(code)
    if code in _ROM_A00:
        return _ROM_A00[code]
    return chr(code) if 0x20 <= code < 0x80 else "\ufffd"
