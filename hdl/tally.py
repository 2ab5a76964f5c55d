"""What happens in a KV cache, counted."""

from amaranth.hdl import Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gptloom.hdl.core import CacheCounters
from gptloom.hdl.delay import delayed


class Tally(wiring.Component):
    """Counts rows of the cache as they are written, attended, evicted and used again.

    Parameters
    ----------
    rows
        Of the cache of one document.
    most
        Rows that are attended in one cycle, at most.

    Attributes
    ----------
    start, evicts : In(1)
        A token begins, which writes a row; it takes that of another one.
    occupied : In
        Rows in use, in the cycle after `start`.
    attended : In
        Rows that are attended in this cycle.
    placed, keep : In
        A document begins behind so many rows that are there.
    counters : Out(CacheCounters)
        Sums, a cycle later; `occupancy` two.
    """

    def __init__(self, rows: int, most: int):
        super().__init__(
            {
                "start": In(1),
                "evicts": In(1),
                "occupied": In(range(rows + 1)),
                "attended": In(range(most + 1)),
                "placed": In(1),
                "keep": In(range(rows)),
                "counters": Out(CacheCounters),
            }
        )

    def elaborate(self, platform):
        m = Module()
        counters = self.counters
        m.d.sync += [
            counters.writes.eq(counters.writes + self.start),
            counters.evictions.eq(counters.evictions + self.evicts),
            counters.reads.eq(counters.reads + self.attended),
            counters.hits.eq(counters.hits + (self.placed & (self.keep != 0))),
            counters.reused.eq(counters.reused + Mux(self.placed, self.keep, 0)),
        ]
        with m.If(delayed(m, self.start)):
            m.d.sync += counters.occupancy.eq(self.occupied)
        return m
