"""Sampling: noise is prepared while logits are computed; then the largest sum wins."""

from amaranth.hdl import Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from gptloom.firmware.isa import Destination
from gptloom.firmware.machine import Machine
from gptloom.hdl.arithmetic import quotient, remainder
from gptloom.hdl.folded.layouts import INDEX_BITS, results
from gptloom.hdl.random import XorShift32
from gptloom.model.arithmetic import LOGIT_BITS
from gptloom.model.sampling import SEED_BITS
from gptloom.model.tables import NOISE_BITS, NOISE_INDEX_BITS, NOISE_TABLE


class Noise(wiring.Component):
    """Gumbel noise for one token's logits, drawn ahead of them.

    Equals successive values of :func:`gptloom.model.sampling.noise`. A refill takes one cycle a
    value, and two more.

    Attributes
    ----------
    refill : In(1)
        Draw a value for every token of the vocabulary.
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
        writers = self._machine.writers
        m.submodules.generator = generator = XorShift32()
        m.submodules.table = table = Memory(
            shape=signed(NOISE_BITS), depth=1 << NOISE_INDEX_BITS, init=NOISE_TABLE.tolist()
        )
        m.submodules.memory = memory = Memory(
            shape=unsigned(NOISE_BITS * writers),
            depth=max(2, -(-self._machine.vocabulary // writers)),
            init=[],
        )
        drawn = table.read_port()
        write = memory.write_port(granularity=NOISE_BITS)
        read = memory.read_port()

        # Powers up drawing, so that the first token finds its noise.
        drawing = Signal(init=1)
        token = Signal.like(self.last_token)
        m.d.comb += [
            generator.load.eq(self.load),
            generator.seed.eq(self.seed),
            generator.next.eq(drawing),
            drawn.addr.eq(generator.o[-NOISE_INDEX_BITS:]),
        ]
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
        return m


class Sampler(wiring.Component):
    """Index of the largest logit plus noise, the first of equals; see :mod:`.model.sampling`.

    Attributes
    ----------
    latency
        From the last logits in `result` to `done`: 3 cycles.
    result : In
        Write-back's results; logits count.
    greedy : In(1)
        Leave the noise out.
    load, seed, last_token : In
        See :class:`Noise`.
    done : Out(1)
        `token` is sampled; its noise is used up and the next is being drawn.
    token : Out
        Token id.
    """

    latency = 3

    def __init__(self, machine: Machine):
        self._machine = machine
        super().__init__(
            {
                "result": In(results(machine)),
                "greedy": In(1),
                "load": In(1),
                "seed": In(SEED_BITS),
                "last_token": In(range(machine.vocabulary)),
                "done": Out(1),
                "token": Out(range(machine.vocabulary)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        result = self.result
        m.submodules.noise = noise = Noise(self._machine)
        taken = Signal()
        m.d.comb += [
            taken.eq(result.enable.any() & (result.destination == Destination.LOGITS)),
            noise.load.eq(self.load),
            noise.seed.eq(self.seed),
            noise.last_token.eq(self.last_token),
            noise.refill.eq(self.done),
            noise.next.eq(taken),
        ]
        # The next logits are far away, and so is the memory.
        m.d.sync += noise.restart.eq(self.done | self.load)

        bits = LOGIT_BITS + 1
        lowest = -(1 << (bits - 1))
        candidates = []
        for i, value in enumerate(result["values"]):
            noisy = Signal(signed(bits), name=f"noisy_{i}")
            index = Signal(INDEX_BITS, name=f"index_{i}")
            added = Mux(self.greedy, 0, noise.values[i])
            m.d.sync += [
                noisy.eq(Mux(result.enable[i], value + added, lowest)),
                index.eq(result.index + i),
            ]
            candidates.append((noisy, index))
        while len(candidates) > 1:
            candidates = [
                self._larger(m, *pair)
                for pair in zip(candidates[::2], candidates[1::2], strict=True)
            ]
        winner, winner_index = candidates[0]
        challenger, challenger_index = Signal(signed(bits)), Signal(INDEX_BITS)
        best = Signal(signed(bits))
        m.d.sync += [challenger.eq(winner), challenger_index.eq(winner_index)]

        valid, first, last = taken, result.index == 0, result.last
        for _ in range(2):
            stage = Signal(3)
            m.d.sync += [stage[0].eq(valid), stage[1].eq(first), stage[2].eq(last)]
            valid, first, last = stage
        with m.If(valid & (first | (challenger > best))):
            m.d.sync += [best.eq(challenger), self.token.eq(challenger_index)]
        m.d.sync += self.done.eq(valid & last)
        return m

    @staticmethod
    def _larger(m: Module, one, other):
        """Return the larger of two candidates; the one of the lower index where they are equal."""
        replaces = other[0] > one[0]
        value, index = Signal.like(one[0], name="larger"), Signal.like(one[1], name="larger_index")
        m.d.comb += [
            value.eq(Mux(replaces, other[0], one[0])),
            index.eq(Mux(replaces, other[1], one[1])),
        ]
        return value, index
