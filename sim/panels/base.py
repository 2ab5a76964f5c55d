"""Base of all panel models: pins in, minimum times checked, pictures out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gptloom.sim.engines import Engine

Lines = tuple[str, str]
"""Text of a panel, two lines of 16 characters; U+FFFD stands for unreadable ones."""

NEVER = -(1 << 60)
"""Clock cycle of events that have not happened yet."""

_CHUNK = 1 << 18
"""Cycles recorded at a time: 2 MB per pin."""

_TOLERANCE = 1e-9
"""Relative tolerance of a time computed from a rounded period."""


class PanelError(Exception):
    """A panel was used against the rules of its datasheet."""


class TimingError(PanelError):
    """A minimum time was not kept.

    Attributes
    ----------
    minimum
        Name of the minimum time.
    needed, seen
        Durations in seconds.
    seconds
        Time at which it was noticed.
    """

    def __init__(self, panel: str, minimum: str, needed: float, seen: float, seconds: float):
        super().__init__(
            f"{panel}: {minimum} must be at least {_time(needed)}, but was {_time(seen)} "
            f"(at {_time(seconds)})"
        )
        self.minimum, self.needed, self.seen, self.seconds = minimum, needed, seen, seconds


def _time(seconds: float) -> str:
    for unit, name in ((1, "s"), (1e-3, "ms"), (1e-6, "us")):
        if seconds >= unit:
            return f"{seconds / unit:.6g} {name}"
    return f"{seconds / 1e-9:.6g} ns"


@dataclass(frozen=True)
class Shown:
    """The visible state from some moment on.

    Attributes
    ----------
    seconds
        Time since power-on.
    lines
        The text; None if the panel is dark.
    picture
        ``(height, width, 3)``, 8 bits per colour.
    """

    seconds: float
    lines: Lines | None
    picture: NDArray[np.uint8]


class PanelModel(ABC):
    """A panel, from power-on in the first cycle.

    Parameters
    ----------
    period
        Period of the clock, in seconds: every pin is sampled once per cycle.
    strict
        Whether to raise on the first misuse; otherwise it is added to `violations`.

    Attributes
    ----------
    pins : dict of str to int
        Widths of the pins by name.
    minima : dict of str to float
        Minimum times in seconds by name.
    cycle : int
        Number of cycles seen.
    violations : list of PanelError
        All misuse, if not strict.
    seen : dict of str to float
        Shortest time seen for each minimum.
    shown : list of Shown
        Everything shown so far, in order; the first is the state after power-on.
    """

    name: str
    pins: Mapping[str, int]

    def __init__(self, period: float, minima: Mapping[str, float], *, strict: bool):
        self.period = period
        self.minima = dict(minima)
        self.strict = strict
        self.cycle = 0
        self.violations: list[PanelError] = []
        self.seen: dict[str, float] = {}
        self.shown: list[Shown] = []
        self._levels: int | None = None
        self._shifts = dict(
            zip(self.pins, np.cumsum([0, *self.pins.values()]).tolist()[:-1], strict=True)
        )

    @property
    def lines(self) -> Lines | None:
        """The text that is visible now; None if the panel is dark."""
        return self._lines()

    def feed(self, levels: Mapping[str, ArrayLike]) -> None:
        """Advance by some cycles.

        Parameters
        ----------
        levels
            The same number of values for each pin, one per cycle.

        Raises
        ------
        PanelError
            On misuse, if strict.
        """
        packed = np.zeros(len(levels[next(iter(self.pins))]), np.uint16)
        for name, shift in self._shifts.items():
            packed |= np.asarray(levels[name]).astype(np.uint16) << shift
        if not len(packed):
            return
        if self._levels is None:
            self._levels = int(packed[0])
        before = np.concatenate([np.array([self._levels], np.uint16), packed[:-1]])
        changed = np.flatnonzero(packed != before)
        self._changes(changed + self.cycle, packed[changed], before[changed])
        self.cycle += len(packed)
        self._levels = int(packed[-1])
        self._look(self.cycle)

    def step(self, **levels: int) -> None:
        """Advance by one cycle, with a level for each pin."""
        packed = sum(levels[name] << shift for name, shift in self._shifts.items())
        if packed == self._levels:
            self.cycle += 1
        else:
            self.feed({name: [level] for name, level in levels.items()})

    @abstractmethod
    def picture(self) -> NDArray[np.uint8]:
        """Draw the present picture: ``(height, width, 3)``, 8 bits per colour."""

    @abstractmethod
    def _lines(self) -> Lines | None:
        """Read the present text."""

    @abstractmethod
    def _state(self) -> bytes | None:
        """Return everything that the picture depends on, to detect changes; None if dark."""

    @abstractmethod
    def _changes(self, cycles: NDArray, levels: NDArray, before: NDArray) -> None:
        """Handle the cycles in which pins change: their levels, and those of the cycle before."""

    def _pin(self, levels: NDArray | int, name: str) -> NDArray | int:
        return levels >> self._shifts[name] & ((1 << self.pins[name]) - 1)

    def _look(self, cycle: int) -> None:
        """Add the visible state to `shown`, if it has changed."""
        state = self._state()
        if not self.shown or state != self._seen_state:
            self._seen_state = state
            self.shown.append(Shown(cycle * self.period, self._lines(), self.picture()))

    def _complain(self, error: PanelError) -> None:
        if self.strict:
            raise error
        self.violations.append(error)

    def _require(self, minimum: str, lasted: NDArray | int, cycles: NDArray | int) -> None:
        """Check durations, which ended in these cycles, both in cycles, against a minimum."""
        lasted, cycles = np.atleast_1d(lasted), np.atleast_1d(cycles)
        if not len(lasted):
            return
        needed = self.minima[minimum]
        shortest = int(lasted.min())
        if shortest < 1 << 50:
            self.seen[minimum] = min(self.seen.get(minimum, np.inf), shortest * self.period)
        if shortest * self.period < needed * (1 - _TOLERANCE):
            first = int(np.argmax(lasted * self.period < needed * (1 - _TOLERANCE)))
            self._complain(
                TimingError(
                    self.name,
                    minimum,
                    needed,
                    int(lasted[first]) * self.period,
                    int(cycles[first]) * self.period,
                )
            )


def watch(
    engine: Engine, panels: Sequence[tuple[PanelModel, str]], cycles: int, *, chunk: int = _CHUNK
) -> None:
    """Run a simulation and feed panels the levels of its pins.

    Parameters
    ----------
    engine
        The simulation; its present recording is dropped.
    panels
        Models, and the prefix of the names of their pins in the simulation.
    cycles
        Number of cycles to run.
    chunk
        Cycles recorded at a time.

    Raises
    ------
    PanelError
        On misuse of a strict model.
    """
    names = sorted({prefix + pin for panel, prefix in panels for pin in panel.pins})
    while cycles > 0:
        engine.record(names)
        engine.run(min(cycles, chunk))
        recording = engine.recording()
        for panel, prefix in panels:
            panel.feed({pin: recording[prefix + pin] for pin in panel.pins})
        cycles -= chunk
    engine.stop_recording()
