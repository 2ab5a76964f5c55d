"""What happens in a KV cache, counted."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gptloom.hdl.core import COUNTER_BITS, CacheCounters
from gptloom.hdl.delay import delayed


class Tally(wiring.Component):
    """Counts rows of the cache as they are written, attended, evicted and used again.

    Parameters
    ----------
    rows
        Of the cache of one document.
    most
        Rows that are attended in one cycle, at most.
    evicts, keeps
        Whether rows are ever evicted, and used again.

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

    def __init__(self, rows: int, most: int, *, evicts: bool, keeps: bool):
        self._evicts, self._keeps = evicts, keeps
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
        keeps = self.placed & (self.keep != 0)
        added = {
            "writes": self.start,
            "reads": self.attended,
            # What never happens has no register.
            "evictions": self.evicts if self._evicts else None,
            "hits": keeps if self._keeps else None,
            "reused": Mux(keeps, self.keep, 0) if self._keeps else None,
        }
        for name, count in added.items():
            if count is not None:
                total = Signal(COUNTER_BITS, name=name)
                m.d.sync += total.eq(total + count)
                m.d.comb += self.counters[name].eq(total)
        occupancy = Signal.like(self.occupied, name="occupancy")
        with m.If(delayed(m, self.start)):
            m.d.sync += occupancy.eq(self.occupied)
        m.d.comb += self.counters.occupancy.eq(occupancy)
        return m
