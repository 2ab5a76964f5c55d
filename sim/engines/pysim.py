"""Amaranth's own simulator: slow, but it needs nothing beyond Python."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import ClockDomain, Fragment, Signal
from amaranth.lib import wiring
from amaranth.sim import Simulator

from .base import WORD_BITS, Engine, Port, component_ports


class PysimEngine(Engine):
    """A simulation by `amaranth.sim`.

    Parameters
    ----------
    component : wiring.Component
        The design, with one clock domain, ``sync``.
    reason : str
        Reason for taking this engine, for the description.
    """

    name = "pysim"

    def __init__(self, component: wiring.Component, reason: str = ""):
        domain = ClockDomain("sync")
        super().__init__(component_ports(component) | {"rst": Port("rst", domain.rst, True)})
        self.description = "Amaranth's own simulator" + (f" (fallback: {reason})" if reason else "")
        self._clock = domain.clk
        fragment = Fragment.get(component, None)
        fragment.add_domains(domain)
        self._simulator = Simulator(fragment)
        # A testbench's context can read, write and settle the design at any time, not only within
        # its coroutine; the clock is driven through it too, so that one edge is one call.
        self._simulator.add_testbench(self._take_context, background=True)
        self._simulator.advance()
        self._inside: dict[str, Signal] | None = None
        self._probes: list[tuple[Signal, int, int]] = []

    async def _take_context(self, context) -> None:
        self._context = context

    def close(self) -> None:
        """Do nothing: the simulation is plain Python objects."""

    def _signal(self, name: str) -> Signal:
        if name in self._ports:
            return self._ports[name].signal
        if self._inside is None:
            self._inside = {
                ".".join((*info.name[1:], local)): signal
                for info in self._simulator._design.fragments.values()
                for signal, local in info.signal_names.items()
            }
        if name not in self._inside:
            name = self._numbered(name, name, self._inside)
        return self._inside[name]

    def _width(self, name: str) -> int:
        return len(self._signal(name))

    def _poke(self, port: Port, value: int) -> None:
        self._context.set(port.signal, value)

    def _peek(self, name: str) -> int:
        signal = self._signal(name)
        return self._context.get(signal) & ((1 << len(signal)) - 1)

    def _run(self, max_cycles: int, until: str | None) -> int:
        get, put, clock = self._context.get, self._context.set, self._clock
        stop = None if until is None else self._signal(until)
        for cycle in range(max_cycles):
            if stop is not None and get(stop):
                return cycle
            if self._is_recording:
                row = self._recording.space()[0]
                for column, (signal, shift, mask) in enumerate(self._probes):
                    row[column] = get(signal) >> shift & mask
                self._recording.claim(1)
            put(clock, 1)
            put(clock, 0)
            self.cycles += 1
        return max_cycles

    def _reset(self) -> None:
        self._simulator.reset()
        self._simulator.advance()

    def _probe(self, names: Sequence[str]) -> None:
        signals = [self._signal(name) for name in names]
        self._probes = [
            (signal, shift, (1 << min(len(signal) - shift, WORD_BITS)) - 1)
            for signal in signals
            for shift in range(0, max(1, len(signal)), WORD_BITS)
        ]
