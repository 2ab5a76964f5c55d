"""Random numbers."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gptloom.model.sampling import SEED_BITS


class XorShift32(wiring.Component):
    """Marsaglia's 32-bit xorshift; equals :func:`gptloom.model.sampling.xorshift32`.

    The state is never 0: it starts at 1, and a seed of 0 is replaced by 1.

    Attributes
    ----------
    load, seed : In
        Set the state.
    next : In(1)
        Advance the state by one step.
    o : Out
        State after the present one, to which `next` advances.
    """

    def __init__(self):
        super().__init__({"load": In(1), "seed": In(SEED_BITS), "next": In(1), "o": Out(SEED_BITS)})

    def elaborate(self, platform):
        m = Module()
        state = Signal(SEED_BITS, init=1)
        first, second = Signal(SEED_BITS), Signal(SEED_BITS)
        m.d.comb += [
            first.eq(state ^ (state << 13)),
            second.eq(first ^ (first >> 17)),
            self.o.eq(second ^ (second << 5)),
        ]
        with m.If(self.load):
            m.d.sync += state.eq(Mux(self.seed == 0, 1, self.seed))
        with m.Elif(self.next):
            m.d.sync += state.eq(self.o)
        return m
