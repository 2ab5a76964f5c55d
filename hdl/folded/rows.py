"""Rows of a KV cache: where a token's keys and values go, and how far back the others are."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from gptloom.firmware.machine import Machine
from gptloom.hdl.arithmetic import less
from gptloom.hdl.folded.mass import Mass, numerators
from gptloom.model.cache import Eviction
from gptloom.model.positions import MAX_DISTANCE


class Rows(wiring.Component):
    """Gives every token a row, as :meth:`.KVCache.admit` does.

    While there are free rows it is the next one; then the oldest that is no sink, or that
    which :class:`.Mass` names. Without eviction a row is a position.

    Distances of a window follow from the order of its rows. Where rows are evicted in any order,
    each has its distance in a memory, which counts on while a token's scores pass by for the first
    time.

    Attributes
    ----------
    start, first, position : In(1), In(1), In
        A token begins; there is nothing before it; its position, of which rows without eviction
        follow.
    final_row : In
        Last row of the cache, at run time.
    row, last : Out
        The token's row and the last one in use, from the cycle after `start` on.
    evicts : Out(1)
        With `start`: another token's row makes room.
    at, passes : In
        Row that is asked for; it will not be asked for again for the present scores.
    distance : Out
        Its token's distance from the present one, in the same cycle.
    attended, place, numerators : In
        See :class:`.Mass`.
    """

    def __init__(self, machine: Machine):
        self._machine = machine
        row = range(machine.context)
        # A sink's distance grows beyond the window, as any other does that is not the oldest.
        stays = machine.sinks or machine.eviction is Eviction.ATTENTION
        self._farthest = MAX_DISTANCE if stays else machine.context - 1
        super().__init__(
            {
                "start": In(1),
                "first": In(1),
                "position": In(row),
                "final_row": In(row),
                "row": Out(row),
                "last": Out(row),
                "evicts": Out(1),
                "at": In(row),
                "passes": In(1),
                "distance": Out(range(self._farthest + 1)),
                "attended": In(1),
                "place": In(row),
                "numerators": In(numerators(machine)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        machine = self._machine
        if machine.eviction is Eviction.NONE:
            m.d.comb += [self.row.eq(self.position), self.last.eq(self.position)]
            self._order(m)
            return m
        full, following = Signal(), Signal.like(self.row)
        m.d.comb += [full.eq(self.last == self.final_row), following.eq(self.last + 1)]
        m.d.comb += self.evicts.eq(self.start & ~self.first & full)
        # The row that makes room when none is free.
        evicted = Signal.like(self.row)
        with m.If(self.start):
            with m.If(self.first):
                m.d.sync += [self.row.eq(0), self.last.eq(0)]
            with m.Elif(full):
                m.d.sync += self.row.eq(evicted)
            with m.Else():
                m.d.sync += [self.row.eq(following), self.last.eq(following)]
        if machine.eviction is Eviction.ATTENTION:
            m.submodules.mass = mass = Mass(machine)
            m.d.comb += [
                mass.start.eq(self.start),
                mass.row.eq(self.row),
                mass.last.eq(self.last),
                mass.attended.eq(self.attended),
                mass.place.eq(self.place),
                mass.numerators.eq(self.numerators),
                evicted.eq(mass.least),
            ]
            self._count(m)
        else:
            m.d.comb += evicted.eq(Mux(self.row == self.final_row, machine.sinks, self.row + 1))
            self._order(m)
        return m

    def _order(self, m: Module) -> None:
        """Find distances from the order of the rows."""
        sinks = self._machine.sinks
        # Rows behind the token's own are of the ring's lap before.
        lap = Mux(less(self.row, self.at), self.final_row + 1 - sinks, 0)
        distance = Signal.like(self.distance)
        m.d.comb += [distance.eq(self.row - self.at + lap), self.distance.eq(distance)]
        if not sinks:
            return
        # Tokens before this one; beyond the farthest distance of any sink it does not matter.
        most = MAX_DISTANCE + sinks
        tokens, since = Signal(range(most + 1)), Signal(range(most + 1))
        with m.If(self.start):
            m.d.sync += tokens.eq(Mux(self.first, 0, tokens + (tokens != most)))
        m.d.comb += since.eq(tokens - self.at)
        with m.If(self.at < sinks):
            m.d.comb += self.distance.eq(Mux(since > MAX_DISTANCE, MAX_DISTANCE, since))

    def _count(self, m: Module) -> None:
        """Keep distances in a memory."""
        m.submodules.distances = distances = Memory(
            shape=self.distance.shape(), depth=self._machine.context, init=[]
        )
        write, read = distances.write_port(), distances.read_port(domain="comb")
        counts, grown = Signal(), Signal.like(self.distance)
        m.d.comb += [
            read.addr.eq(self.at),
            grown.eq(read.data + (counts & (read.data != MAX_DISTANCE))),
            self.distance.eq(Mux(self.at == self.row, 0, grown)),
        ]
        # Written a cycle later, for a short path: it is not asked for again so soon.
        m.d.sync += [
            write.en.eq(self.passes & counts),
            write.addr.eq(self.at),
            write.data.eq(self.distance),
        ]
        # A token's scores of later layers find them counted.
        with m.If(self.start):
            m.d.sync += counts.eq(1)
        with m.Elif(self.passes & (self.at == self.last)):
            m.d.sync += counts.eq(0)
