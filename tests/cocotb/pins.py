"""Pins of a simulated top for code that knows nothing of coroutines, as the fast engines have."""

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.task import resume
from cocotb.triggers import Timer, ValueChange
from cocotb.utils import get_sim_time

PERIOD = 10


class PinEngine:
    """An engine for :class:`gptloom.sim.serial_port.SimulatedPort`, through the pins.

    Made within the simulator; all methods are for functions started by `cocotb.task.bridge`.
    Inputs change half-way between two edges. There is no power-on but the simulator's: `reset`
    resets, and memories keep what they hold.

    Attributes
    ----------
    cycles
        Since the last reset.
    """

    def __init__(self, dut):
        self._dut, self._pokes = dut, {}
        self._changes = [(0, 1)]
        self._started = self._recorded = 0
        Clock(dut.clk, PERIOD, unit="ns").start(start_high=False)
        cocotb.start_soon(self._watch())

    async def _watch(self):
        """Note every change of `tx`, which is a register's, with the cycle that begins there."""
        while True:
            await ValueChange(self._dut.tx)
            self._changes.append((self._now(), int(self._dut.tx.value)))

    def _now(self):
        return int(get_sim_time("ns")) // PERIOD

    @property
    def cycles(self):
        return self._at() - self._started

    def poke(self, name, value):
        self._pokes[name] = value

    def step(self, cycles=1):
        if cycles or self._pokes:
            self._advance(cycles)

    @resume
    async def _advance(self, cycles):
        for name, value in self._pokes.items():
            getattr(self._dut, name).value = value
        self._pokes.clear()
        if cycles:
            await Timer(cycles * PERIOD, "ns")

    @resume
    async def _at(self):
        return self._now()

    def reset(self):
        for level in (1, 0):
            self.poke("rst", level)
            self.step()
        self._started = self._at()

    def record(self, names):
        assert list(names) == ["tx"]
        self._recorded = self._at()

    def recording(self):
        """Levels by cycle since `record`."""
        end = self._at()
        while len(self._changes) > 1 and self._changes[1][0] <= self._recorded:
            del self._changes[0]
        times = [self._recorded, *(time for time, _ in self._changes[1:]), end]
        levels = [level for _, level in self._changes]
        return {"tx": np.repeat(np.array(levels, np.uint64), np.diff(times))}

    def close(self):
        """Nothing: the simulation ends with its test."""
