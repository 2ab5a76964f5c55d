"""What happens in the KV cache, counted."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gptloom.firmware.machine import Machine
from gptloom.hdl.core import CacheCounters
from gptloom.hdl.delay import delayed


class Tally(wiring.Component):
    """Counts rows of the cache as they are written, attended, evicted and used again.

    Attributes
    ----------
    start, evicts : In(1)
        A token begins, which writes a row; it takes that of another one.
    last : In
        The last row in use, from the cycle after `start` on.
    attended, place : In
        A row's numerators are written, of which one.
    placed, keep : In
        A document begins behind so many rows that are there.
    counters : Out(CacheCounters)
        Sums, a cycle later; `occupancy` two.
    """

    def __init__(self, machine: Machine):
        row = range(machine.context)
        super().__init__(
            {
                "start": In(1),
                "evicts": In(1),
                "last": In(row),
                "attended": In(1),
                "place": In(8),
                "placed": In(1),
                "keep": In(row),
                "counters": Out(CacheCounters),
            }
        )

    def elaborate(self, platform):
        m = Module()
        counters = self.counters
        m.d.sync += [
            counters.writes.eq(counters.writes + self.start),
            counters.evictions.eq(counters.evictions + self.evicts),
            # Numerators come in words of four rows.
            counters.reads.eq(counters.reads + (self.attended & (self.place <= self.last))),
        ]
        with m.If(delayed(m, self.start)):
            m.d.sync += counters.occupancy.eq(self.last + 1)
        with m.If(self.placed):
            m.d.sync += [
                counters.hits.eq(counters.hits + (self.keep != 0)),
                counters.reused.eq(counters.reused + self.keep),
            ]
        return m
