"""Event counters of a KV cache."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gptloom.hdl.core import COUNTER_BITS, CacheCounters
from gptloom.hdl.delay import delayed


class Tally(wiring.Component):
    """Counts rows of the cache as they are written, attended to, evicted and reused.

    Parameters
    ----------
    rows
        Rows in the cache of one document.
    most
        Maximum rows attended to in one cycle.
    evicts, keeps
        Whether rows are ever evicted, and ever reused.

    Attributes
    ----------
    start, evicts : In(1)
        A token begins, which writes a row; the row is that of another token.
    occupied : In
        Rows in use, in the cycle after `start`.
    attended : In
        Rows attended to in this cycle.
    placed, keep : In
        A document begins after `keep` rows that are already in the cache.
    counters : Out(CacheCounters)
        Sums, one cycle later; `occupancy` two cycles later.
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
            # Events that never happen have no register.
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
