"""The far end of a simulated chip's serial line, bit by bit on its pins."""

from __future__ import annotations

from math import ceil

import numpy as np

from gptloom.hdl.uart import BITS
from gptloom.sim.engines import Engine

PATIENCE_BYTES = 2_000
"""Number of bytes for whose time an answer is awaited; a commit takes a few hundred."""


class SimulatedPort:
    """Port for :class:`gptloom.boards.link.Link`; its time is the chip's.

    Parameters
    ----------
    engine
        Simulation of a component with the pins `rx` and `tx`; the port is its only user.
    divider
        Clock cycles per bit on the line.
    clock_hz
        Clock frequency of the chip.

    Attributes
    ----------
    patience
        Seconds after which an answer is no longer expected.
    broken_frames
        Number of bytes received without a stop bit.
    """

    def __init__(self, engine: Engine, divider: int, clock_hz: float = 80e6):
        self.engine = engine
        self._divider, self._clock = divider, clock_hz
        self._levels = np.ones(0, np.uint64)
        self._received = bytearray()
        self.broken_frames = 0
        self.patience = PATIENCE_BYTES * BITS * divider / clock_hz
        engine.poke("rx", 1)

    def now(self) -> float:
        """Return the seconds since power-on."""
        return self.engine.cycles / self._clock

    def write(self, data: bytes) -> None:
        """Send bytes."""
        self.engine.record(["tx"])
        for byte in data:
            for level in (0, *(byte >> i & 1 for i in range(8)), 1):
                self._bit(level)
        self._decode()

    def write_levels(self, levels: list[int], cycles: int) -> None:
        """Put given levels on the line, each for this many cycles, then let it rest."""
        self.engine.record(["tx"])
        for level in levels:
            self.engine.poke("rx", level)
            self.engine.step(cycles)
        self._bit(1)
        self._decode()

    def _bit(self, level: int) -> None:
        self.engine.poke("rx", level)
        self.engine.step(self._divider)

    def read(self, seconds: float = 0.0) -> bytes:
        """Return the bytes that have come, waiting at most this many seconds for the first."""
        deadline = self.engine.cycles + ceil(seconds * self._clock)
        while not self._received and self.engine.cycles < deadline:
            self.engine.record(["tx"])
            self.engine.step(min(2 * BITS * self._divider, deadline - self.engine.cycles))
            self._decode()
        received = bytes(self._received)
        self._received.clear()
        return received

    def close(self) -> None:
        """Free the simulation."""
        self.engine.close()

    def _decode(self) -> None:
        levels = np.concatenate([self._levels, self.engine.recording()["tx"]])
        divider, at = self._divider, 0
        lows = np.flatnonzero(levels == 0)
        while True:
            index = np.searchsorted(lows, at)
            at = int(lows[index]) if index < len(lows) else len(levels)
            middles = at + divider * np.arange(BITS) + divider // 2
            if middles[-1] >= len(levels):
                break
            bits = levels[middles]
            if bits[0] == 0 and bits[-1] == 1:
                self._received.append(int(sum(int(bit) << i for i, bit in enumerate(bits[1:-1]))))
            else:
                self.broken_frames += 1
            at = int(middles[-1])
        self._levels = levels[at:]
