"""Serial graphic panels: four wires and a reset, dots in a memory."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from gptloom.hdl.display.font import GLYPHS
from gptloom.sim.panels.base import NEVER, Lines, PanelError, PanelModel

_CHARACTERS = {glyph: character for character, glyph in GLYPHS.items()}
_COLUMNS = 16


class SerialModel(PanelModel):
    """A panel that takes bytes, most significant bit first, at the clock's rising edges.

    `cs` and `res` are active low; `dc` is 1 for data and taken with a byte's last bit.

    Parameters
    ----------
    period, strict
        See :class:`.PanelModel`.
    minima
        Minimum times in seconds, by the datasheet's names.
    roles
        The datasheet's name for each of ``cycle``, ``low``, ``high`` (of the clock), ``data
        setup``, ``data hold``, ``dc setup``, ``dc hold``, ``cs setup``, ``cs hold``, ``reset``, and
        ``cs high``, if it has one.
    """

    pins = {"sck": 1, "mosi": 1, "dc": 1, "cs": 1, "res": 1}  # noqa: RUF012

    cell: int
    """Columns per character."""

    dot: tuple[int, int]
    """Columns and rows per dot of the font."""

    tops: tuple[int, int]
    """First rows of the two lines."""

    def __init__(
        self,
        period: float,
        minima: Mapping[str, float],
        roles: Mapping[str, str],
        *,
        strict: bool,
    ):
        super().__init__(period, minima, strict=strict)
        self._roles = roles
        # Cycles of the last edges and changes.
        self._last = dict.fromkeys(("rise", "fall", "mosi", "dc", "select", "deselect"), NEVER)
        self._bits = np.zeros(0, np.uint8)
        self._reset_fell: int | None = None
        self._was_reset = False

    @abstractmethod
    def _reset(self, cycle: int) -> None:
        """Return to the state after a reset."""

    @abstractmethod
    def _command(self, byte: int, cycle: int) -> None:
        """Take a command byte."""

    @abstractmethod
    def _data(self, data: NDArray[np.uint8], cycle: int) -> None:
        """Take data bytes."""

    @abstractmethod
    def _dots(self) -> NDArray[np.bool_] | None:
        """Return which dots are lit, ``(height, width)``; None if dark."""

    def _lines(self) -> Lines | None:
        lit = self._dots()
        if lit is None:
            return None
        first, second = (
            "".join(self._read(lit, top, column) for column in range(_COLUMNS)) for top in self.tops
        )
        return first, second

    def _read(self, lit: NDArray[np.bool_], top: int, column: int) -> str:
        width, height = self.dot
        cell = lit[top : top + 8 * height, column * self.cell : (column + 1) * self.cell]
        dots = cell[::height, : 5 * width : width]
        whole = np.zeros_like(cell)
        whole[:, : 5 * width] = dots.repeat(height, axis=0).repeat(width, axis=1)
        if not np.array_equal(cell, whole):
            return "\ufffd"
        glyph = np.packbits(dots.T, axis=1, bitorder="little").tobytes()
        return _CHARACTERS.get(glyph, "\ufffd")

    def stray_dots(self) -> int:
        """Count lit dots outside the two lines."""
        lit = self._dots()
        if lit is None:
            return 0
        inside = np.zeros_like(lit)
        for top in self.tops:
            inside[top : top + 8 * self.dot[1], : _COLUMNS * self.cell] = True
        return int((lit & ~inside).sum())

    def _changes(self, cycles: NDArray, levels: NDArray, before: NDArray) -> None:
        if not len(cycles):
            return
        self._check(cycles, levels, before)
        changed = levels ^ before
        rises = (self._pin(changed, "sck") & self._pin(levels, "sck")).astype(bool)
        # Between changes of chip select and reset there are only bits.
        breaks = np.flatnonzero(self._pin(changed, "cs") | self._pin(changed, "res"))
        start = 0
        for end in [*breaks.tolist(), len(cycles)]:
            for part in (slice(start, end), slice(end, end + 1)):
                bits = rises[part] & (self._pin(levels[part], "cs") == 0)
                if part.start == end < len(cycles):
                    self._frame(int(cycles[end]), int(levels[end]), int(before[end]))
                if bits.any():
                    self._take(cycles[part][bits], levels[part][bits])
            start = end + 1

    def _check(self, cycles: NDArray, levels: NDArray, before: NDArray) -> None:
        """Check all minima of the line; times are looked up among all changes at once."""

        def moments(condition: NDArray, kind: str) -> tuple[NDArray, NDArray]:
            """Return the cycles of the last such moment up to, and before, every change."""
            marks = np.where(condition, cycles, NEVER)
            up_to = np.maximum.accumulate(np.concatenate([[self._last[kind]], marks]))
            self._last[kind] = int(up_to[-1])
            return up_to[1:], up_to[:-1]

        up, down = levels & ~before, before & ~levels
        rise = self._pin(up, "sck").astype(bool)
        fall = self._pin(down, "sck").astype(bool)
        mosi = self._pin(up | down, "mosi").astype(bool)
        dc = self._pin(up | down, "dc").astype(bool)
        select = self._pin(down, "cs").astype(bool)
        deselect = self._pin(up, "cs").astype(bool)
        last_rise, rise_before = moments(rise, "rise")
        last_fall, _ = moments(fall, "fall")
        last_mosi, _ = moments(mosi, "mosi")
        last_dc, _ = moments(dc, "dc")
        last_select, _ = moments(select, "select")
        _, deselect_before = moments(deselect, "deselect")

        selected = self._pin(levels, "cs") == 0
        was_selected = self._pin(before, "cs") == 0
        for role, when, since in (
            ("cycle", rise & selected, rise_before),
            ("low", rise & selected, last_fall),
            ("high", fall & was_selected, last_rise),
            ("data setup", rise & selected, last_mosi),
            ("data hold", mosi & was_selected, rise_before),
            ("dc setup", rise & selected, last_dc),
            ("dc hold", dc & was_selected, rise_before),
            ("cs setup", rise & selected, last_select),
            ("cs hold", deselect, rise_before),
            ("cs high", select, deselect_before),
        ):
            if role in self._roles:
                self._require(self._roles[role], cycles[when] - since[when], cycles[when])

    def _frame(self, cycle: int, now: int, old: int) -> None:
        """Handle a change of chip select or reset."""
        if not self._pin(now, "res"):
            # Bits of a byte that a reset interrupts do not count.
            self._bits = self._bits[:0]
        if self._pin(now ^ old, "cs") and len(self._bits):
            self._complain(
                PanelError(f"{self.name}: a byte ended after {len(self._bits)} of its 8 bits")
            )
            self._bits = self._bits[:0]
        if self._pin(old & ~now, "res"):
            self._reset_fell = cycle
            self._was_reset = False
        if self._pin(now & ~old, "res"):
            # A level that is low from power-on counts from there.
            self._require(self._roles["reset"], cycle - (self._reset_fell or 0), cycle)
            self._was_reset = True
            self._bits = self._bits[:0]
            self._reset(cycle)
        self._look(cycle)

    def _take(self, cycles: NDArray, levels: NDArray) -> None:
        """Take bits: the levels at rising edges."""
        kept = len(self._bits)
        bits = np.concatenate([self._bits, self._pin(levels, "mosi").astype(np.uint8)])
        whole = len(bits) // 8 * 8
        self._bits = bits[whole:]
        data = np.packbits(bits[:whole])
        if not len(data):
            return
        last = np.arange(7, whole, 8) - kept
        kinds, moments = self._pin(levels[last], "dc"), cycles[last]
        if not self._was_reset:
            self._complain(PanelError(f"{self.name}: bytes are sent without a reset"))
        edges = [0, *(np.flatnonzero(np.diff(kinds)) + 1).tolist(), len(data)]
        for begin, end in pairwise(edges):
            if kinds[begin]:
                self._data(data[begin:end], int(moments[begin]))
                self._look(int(moments[end - 1]))
                continue
            for byte, moment in zip(data[begin:end], moments[begin:end], strict=True):
                self._command(int(byte), int(moment))
                self._look(int(moment))


class Window:
    """A rectangle of the memory that is written in a loop, one dimension faster than the other."""

    def __init__(self, fast: tuple[int, int], slow: tuple[int, int]):
        self.fast, self.slow = fast, slow
        self.at = 0

    def places(self, count: int) -> tuple[NDArray, NDArray]:
        """Return the next places, and advance beyond them."""
        (fast, fast_end), (slow, slow_end) = self.fast, self.slow
        length = fast_end - fast + 1
        at = (self.at + np.arange(count)) % (length * (slow_end - slow + 1))
        self.at += count
        return fast + at % length, slow + at // length
