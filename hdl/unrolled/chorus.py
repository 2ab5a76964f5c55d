"""All streams of an unrolled core at work, with the output of one of them."""

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from gptloom.hdl.core import Counters, Prompt, Token
from gptloom.hdl.folded.layouts import Temperature
from gptloom.hdl.unrolled.core import UnrolledCore

THOUSAND = 1000


class Chorus(wiring.Component):
    """Gives all streams the same prompt and temperature, outputs the first one, counts all.

    Each stream has its own random numbers, so their documents differ. Tokens of the other streams
    are accepted at once and dropped.

    Parameters
    ----------
    core
        The core whose streams these are.

    Attributes
    ----------
    i : In(stream of Prompt)
        Prompt offered to every stream in its turn: one token, which is the whole prompt.
    busy : Out(1)
        A document is in progress in the stream whose turn it is.
    o : Out(stream of Token)
        Tokens that the first stream samples.
    temperature : In(Temperature)
        Temperature, encoded as the core's own scale, see :meth:`.UnrolledCore.encode_scale`.
    counters
        Counters of the core.
    thousand : Out(1)
        Pulse: another thousand tokens were sampled, all streams together.
    """

    def __init__(self, core: UnrolledCore):
        self.core = core
        super().__init__(
            {
                "i": In(stream.Signature(Prompt)),
                "o": Out(stream.Signature(Token)),
                "temperature": In(Temperature),
                "counters": Out(Counters),
                "thousand": Out(1),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.core = core = self.core
        wiring.connect(m, wiring.flipped(self.i), core.i)
        heard = core.o_stream == 0
        scale = Value.cast(core.temperature)
        m.d.comb += [
            self.o.valid.eq(core.o.valid & heard),
            self.o.payload.eq(core.o.payload),
            core.o.ready.eq(self.o.ready | ~heard),
            scale.eq(Value.cast(self.temperature)),
            self.counters.eq(core.counters),
            self.busy.eq(~core.idle),
        ]
        count = Signal(range(THOUSAND))
        last = count == THOUSAND - 1
        m.d.sync += self.thousand.eq(0)
        with m.If(core.o.valid & core.o.ready):
            m.d.sync += [count.eq(count + 1), self.thousand.eq(last)]
            with m.If(last):
                m.d.sync += count.eq(0)
        return m
