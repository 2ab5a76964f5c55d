"""How much the rows of a cache have been attended lately, and which least."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from gptloom.firmware.machine import Machine
from gptloom.hdl.arithmetic import less
from gptloom.hdl.attributes import LOADED
from gptloom.hdl.delay import delayed
from gptloom.model.arithmetic import MANTISSA_BITS
from gptloom.model.cache import FADE, first_mass, mass_bits


def numerators(machine: Machine) -> data.ArrayLayout:
    """Return the layout of a row's numerators, those of all heads."""
    return data.ArrayLayout(MANTISSA_BITS, machine.heads)


class Mass(wiring.Component):
    """Sums of attention that fade, row by row, as :class:`.KVCache` has them.

    A token's numerators pass by once for every layer, all rows in order, one a cycle. In the first
    of these passes a mass loses ``2**-FADE`` of itself, and the token's own row begins with the
    most; in every one the numerators of all heads are added.

    Attributes
    ----------
    start : In(1)
        A token begins.
    row, last : In
        Its row, and the last one in use.
    attended : In(1)
        Numerators pass by.
    place, numerators : In
        Row that the mass belongs to; 9 bits for every head.
    least : Out
        Row of the least mass, the first of several; 3 cycles after the last numerators.
    """

    def __init__(self, machine: Machine):
        self._machine = machine
        row = range(machine.context)
        super().__init__(
            {
                "start": In(1),
                "row": In(row),
                "last": In(row),
                "attended": In(1),
                "place": In(row),
                "numerators": In(numerators(machine)),
                "least": Out(row),
            }
        )

    def elaborate(self, platform):
        m = Module()
        machine = self._machine
        bits = mass_bits(machine.heads)
        m.submodules.masses = masses = Memory(shape=bits, depth=machine.context, init=[])
        write, read = masses.write_port(), masses.read_port()
        m.d.comb += [read.addr.eq(self.place), read.en.eq(self.attended)]

        # In the cycle after the numerators, with what was read.
        valid, place = delayed(m, self.attended), delayed(m, self.place)
        added = Signal(range(machine.heads << MANTISSA_BITS), **LOADED)
        m.d.sync += added.eq(sum(self.numerators))
        fades, before, mass = Signal(), Signal(bits), Signal(bits)
        total = Signal(bits + 1)
        m.d.comb += [
            before.eq(read.data - Mux(fades, read.data >> FADE, 0)),
            total.eq(Mux(fades & (place == self.row), first_mass(machine.heads), before) + added),
            mass.eq(Mux(total[-1], (1 << bits) - 1, total)),
            write.en.eq(valid),
            write.addr.eq(place),
            write.data.eq(mass),
        ]
        final = valid & (place == self.last)
        with m.If(self.start):
            m.d.sync += fades.eq(1)
        with m.Elif(final):
            m.d.sync += fades.eq(0)

        # Every pass finds the least anew; the last one's counts.
        found, found_place = delayed(m, mass), delayed(m, place)
        counts = delayed(m, valid & (place <= self.last))
        best = Signal(bits, **LOADED)
        with m.If(counts & ((found_place == 0) | less(found, best))):
            m.d.sync += [best.eq(found), self.least.eq(found_place)]
        return m
