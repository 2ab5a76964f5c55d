"""A core without a KV cache between tokens, to see what the cache is worth."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from gptloom.firmware.latencies import flush_cycles
from gptloom.firmware.machine import Machine


class Recompute(wiring.Component):
    """Computes the whole document anew for every token that is wanted.

    It stands between :class:`.Control` and the program. Known tokens are only remembered; for a
    token to be sampled, all tokens from the first are run through the program, each as the cached
    core runs a prompt's, so that no product is computed that is not needed. What is read of keys
    and values was written since that token was asked for.

    Attributes
    ----------
    token_start, token, position, sample : In
        From :class:`.Control`.
    token_finished, token_done : Out(1)
        To it: the token was remembered, or all was computed and the next one sampled.
    start, now, place, wanted : Out
        For the program: a token begins, which one, where, and whether the next is to be sampled.
    finished, done : In
        From the program and from the sampler.
    """

    def __init__(self, machine: Machine):
        self._machine = machine
        token, position = range(machine.vocabulary), range(machine.context)
        super().__init__(
            {
                "token_start": In(1),
                "token": In(token),
                "position": In(position),
                "sample": In(1),
                "token_finished": Out(1),
                "token_done": Out(1),
                "start": Out(1),
                "now": Out(token),
                "place": Out(position),
                "wanted": Out(1),
                "finished": In(1),
                "done": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.tokens = tokens = Memory(
            shape=self.token.shape(), depth=self._machine.context, init=[]
        )
        write, read = tokens.write_port(), tokens.read_port()
        wait = flush_cycles(self._machine)
        left = Signal(range(wait + 1))
        m.d.comb += [
            write.en.eq(self.token_start),
            write.addr.eq(self.position),
            write.data.eq(self.token),
            read.en.eq(1),
            read.addr.eq(self.place),
            self.now.eq(read.data),
        ]
        m.d.sync += [
            self.start.eq(0),
            self.token_finished.eq(self.token_start & ~self.sample),
            self.wanted.eq(self.place == self.position),
        ]
        with m.FSM():
            with m.State("idle"):
                m.d.sync += self.place.eq(0)
                with m.If(self.token_start & self.sample):
                    m.next = "read"
            with m.State("read"):
                m.d.sync += self.start.eq(1)
                m.next = "begin"
            with m.State("begin"):
                m.next = "run"
            with m.State("run"):
                m.d.sync += left.eq(wait)
                m.d.comb += self.token_done.eq(self.wanted & self.done)
                with m.If(self.wanted & self.done):
                    m.next = "idle"
                with m.Elif(self.finished & ~self.wanted):
                    m.next = "flush"
            with m.State("flush"):
                # Keys and values must be written before the next token moves on.
                m.d.sync += left.eq(left - 1)
                with m.If(left == 0):
                    m.d.sync += self.place.eq(self.place + 1)
                    m.next = "read"
        return m
