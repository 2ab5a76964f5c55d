"""Noise that makes the largest logit a sample (Gumbel-max)."""

from amaranth.hdl import Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from gptloom.firmware.machine import Machine
from gptloom.hdl.arithmetic import quotient, remainder
from gptloom.hdl.random import XorShift32
from gptloom.model.sampling import SEED_BITS
from gptloom.model.tables import NOISE_BITS, noise_entries


class Noise(wiring.Component):
    """Gumbel noise for one token's logits, drawn ahead of them.

    Equals successive values of :func:`gptloom.model.sampling.noise`. Hardware that writes one
    result a cycle draws one value for each logit as it comes. Hardware that writes several has the
    noise of a whole token in a memory; a refill takes one cycle a value, and two more.

    Attributes
    ----------
    refill : In(1)
        All values have been used: draw as many for the next token.
    load, seed : In
        Set the generator's state and refill.
    last_token : In
        Largest token id.
    restart, next : In(1)
        Go to the first values, or to the following ones.
    values : Out
        Noise of `writers` consecutive tokens, one cycle after `restart` or `next`.
    """

    def __init__(self, machine: Machine):
        self._machine = machine
        super().__init__(
            {
                "refill": In(1),
                "load": In(1),
                "seed": In(SEED_BITS),
                "last_token": In(range(machine.vocabulary)),
                "restart": In(1),
                "next": In(1),
                "values": Out(data.ArrayLayout(signed(NOISE_BITS), machine.writers)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.generator = generator = XorShift32()
        bits = self._machine.precision.noise_bits
        m.submodules.table = table = Memory(
            shape=signed(NOISE_BITS), depth=1 << bits, init=noise_entries(bits).tolist()
        )
        drawn = table.read_port()
        m.d.comb += [
            generator.load.eq(self.load),
            generator.seed.eq(self.seed),
            drawn.addr.eq(generator.o[-bits:]),
        ]
        draw = self._draw_one if self._machine.writers == 1 else self._draw_all
        draw(m, generator, drawn)
        return m

    def _draw_one(self, m: Module, generator, drawn) -> None:
        """Move generator, table and value on together: the table is always one value ahead."""
        filling = Signal(2, init=-1)
        moves = self.next | (filling != 0)
        m.d.comb += [generator.next.eq(moves), drawn.en.eq(moves)]
        with m.If(moves):
            m.d.sync += [self.values[0].eq(drawn.data), filling.eq(filling >> 1)]
        with m.If(self.load):
            m.d.sync += filling.eq(-1)

    def _draw_all(self, m: Module, generator, drawn) -> None:
        """Draw a value for every token of the vocabulary into a memory, `writers` a word."""
        writers = self._machine.writers
        m.submodules.memory = memory = Memory(
            shape=unsigned(NOISE_BITS * writers),
            depth=-(-self._machine.vocabulary // writers),
            init=[],
        )
        write = memory.write_port(granularity=NOISE_BITS)
        read = memory.read_port()

        # Powers up drawing, so that the first token finds its noise.
        drawing = Signal(init=1)
        token = Signal.like(self.last_token)
        m.d.comb += generator.next.eq(drawing)
        with m.If(self.load | self.refill):
            m.d.sync += [drawing.eq(1), token.eq(0)]
        with m.Elif(drawing):
            m.d.sync += token.eq(token + 1)
            with m.If(token == self.last_token):
                m.d.sync += drawing.eq(0)
        place, arrived = Signal.like(token), Signal()
        m.d.sync += [place.eq(token), arrived.eq(drawing)]
        m.d.comb += [
            write.addr.eq(quotient(place, writers)),
            write.data.eq(drawn.data.as_unsigned().replicate(writers)),
            write.en.eq(Mux(arrived, Const(1, writers) << remainder(place, writers), 0)),
        ]

        at = Signal(range(memory.depth))
        following = Signal.like(at)
        m.d.comb += [
            following.eq(Mux(self.restart, 0, Mux(self.next, at + 1, at))),
            read.addr.eq(following),
            self.values.eq(read.data),
        ]
        m.d.sync += at.eq(following)
