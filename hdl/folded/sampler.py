"""Sampling: the largest sum of logit and noise wins."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gptloom.firmware.machine import Machine
from gptloom.hdl.arithmetic import less
from gptloom.hdl.attributes import LOADED
from gptloom.hdl.delay import delayed
from gptloom.hdl.folded.layouts import ResultBus
from gptloom.hdl.folded.noise import Noise
from gptloom.model.arithmetic import LOGIT_BITS
from gptloom.model.sampling import SEED_BITS


class Sampler(wiring.Component):
    """Index of the largest logit plus noise, the first of equals; see :mod:`.model.sampling`.

    Attributes
    ----------
    latency
        From the last logits in `i` to `done`: 3 cycles.
    i : In
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
                "i": In(ResultBus(machine)),
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
        result = self.i.beat
        m.submodules.noise = noise = Noise(self._machine)
        taken = Signal()
        m.d.comb += [
            taken.eq(result.enable.any() & result.to.sampler),
            noise.load.eq(self.load),
            noise.seed.eq(self.seed),
            noise.last_token.eq(self.last_token),
            noise.refill.eq(self.done),
            noise.next.eq(taken),
        ]
        # The next logits are far away, and so is the memory.
        m.d.sync += noise.restart.eq(self.done | self.load)

        # Less than any logit with its noise.
        bits = LOGIT_BITS + 1
        lowest = -(1 << (bits - 1))
        candidates = []
        for i, value in enumerate(result["values"]):
            noisy = Signal(signed(bits), name=f"noisy_{i}")
            index = Signal(len(result.index), name=f"index_{i}")
            added = Mux(self.greedy, 0, noise.values[i])
            m.d.sync += [
                noisy.eq(Mux(taken & result.enable[i], value + added, lowest)),
                index.eq(result.index + i),
            ]
            candidates.append((noisy, index))
        while len(candidates) > 1:
            candidates = [
                self._larger(m, *pair)
                for pair in zip(candidates[::2], candidates[1::2], strict=True)
            ]
        winner, winner_index = candidates[0]
        challenger, challenger_index = delayed(m, winner), delayed(m, winner_index)
        first = delayed(m, taken & (result.index == 0), 2)
        # The complement of the best: added to a larger challenger, it does not get negative.
        best, token = Signal(signed(bits), **LOADED), Signal.like(self.token, **LOADED)
        m.d.comb += self.token.eq(token)
        with m.If(first | ((challenger + best) >= 0)):
            m.d.sync += [best.eq(~challenger), token.eq(challenger_index)]
        m.d.sync += self.done.eq(delayed(m, taken & result.last, 2))
        return m

    @staticmethod
    def _larger(m: Module, one, other):
        """Return the larger of two candidates; the one of the lower index where they are equal."""
        replaces = less(one[0], other[0])
        value, index = Signal.like(one[0], name="larger"), Signal.like(one[1], name="larger_index")
        m.d.comb += [
            value.eq(Mux(replaces, other[0], one[0])),
            index.eq(Mux(replaces, other[1], one[1])),
        ]
        return value, index
