"""The serial line of graphic displays: SPI mode 0 on four wires, most significant bit first."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

NS = Fraction(1, 10**9)

SKEW = 5
"""Skew between a chip's pins in nanoseconds: simultaneous edges leave it at different times, and a
rising edge takes longer than a falling one."""


@dataclass(frozen=True)
class SerialTiming:
    """A controller's minimum times in nanoseconds, by the names of its datasheet.

    Attributes
    ----------
    cycle
        Minimum clock cycle.
    low
        Minima in the clock's low half: its length, and set-up times before the rising edge.
    high
        Minima in the clock's high half: its length, and hold times after the rising edge.
    deselected
        Minimum times between two bytes that are selected one by one.
    """

    cycle: Mapping[str, int]
    low: Mapping[str, int]
    high: Mapping[str, int]
    deselected: Mapping[str, int]

    def half(self, clock_hz: Fraction) -> int:
        """Return the cycles per half bit that meet all minima, with `SKEW` added."""
        longest = max(
            *(t + SKEW for t in [*self.low.values(), *self.high.values()]),
            *(Fraction(t + SKEW, 2) for t in self.deselected.values()),
            *(Fraction(t, 2) for t in self.cycle.values()),
        )
        return ceil(longest * NS * clock_hz)

    def table(self, half: Fraction) -> dict[str, tuple[Fraction, Fraction]]:
        """Return minimum and actual times in seconds by name; `half` is half a bit in seconds."""
        rows = {name: (t * NS, half) for name, t in [*self.low.items(), *self.high.items()]}
        both = {**self.cycle, **self.deselected}
        return {name: (t * NS, 2 * half) for name, t in both.items()} | rows


class Serialiser(wiring.Component):
    """Sends bits with the waveforms of the datasheets' figures.

    A bit is a low and a high half of the clock. Data, command and select change when the low half
    begins. While nothing is selected the clock rests low, and bit times go on.

    Parameters
    ----------
    half
        Cycles per half bit.

    Attributes
    ----------
    select, level, data : In(1)
        For the present bit: send it, its value, and whether it belongs to data rather than a
        command. The pins follow a cycle later.
    ends : Out(1)
        This is the last cycle of the present bit.
    sck, mosi, dc : Out(1)
        Pins; `dc` is 1 for data.
    cs : Out(1)
        Pin, low when selected.
    """

    def __init__(self, half: int):
        if half < 1:
            raise ValueError(f"half is {half}, but half a bit lasts at least 1 cycle")
        self.half = half
        super().__init__(
            {
                "select": In(1),
                "level": In(1),
                "data": In(1),
                "ends": Out(1),
                "sck": Out(1),
                "mosi": Out(1),
                "dc": Out(1),
                "cs": Out(1, init=1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        phase = Signal(range(2 * self.half))
        m.d.sync += [phase.eq(phase + 1), self.ends.eq(phase == 2 * self.half - 2)]
        with m.If(self.ends):
            m.d.sync += phase.eq(0)
        m.d.sync += [
            self.sck.eq((phase >= self.half) & self.select),
            self.mosi.eq(self.level),
            self.dc.eq(self.data),
            self.cs.eq(~self.select),
        ]
        return m
