"""A document, token by token."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from gptloom.firmware import schedule
from gptloom.firmware.machine import Machine
from gptloom.hdl.core import Counters, Prompt, Token


class Control(wiring.Component):
    """Feeds known tokens, then sampled ones, until the document or the context ends.

    Attributes
    ----------
    i, o, counters, busy
        See :class:`.CoreSignature`.
    hold : In(1)
        Do not begin a document.
    bos, last_position : In
        Of the model: the token that ends a document, and the context's end.
    start : Out(1)
        A token begins: `token`, `position` and `sample` are new.
    sample : Out(1)
        The token after this one is not known.
    finished : In(1)
        The program is over; results may still be under way.
    done, sampled : In
        The sampler has chosen.
    """

    def __init__(self, machine: Machine):
        self._machine = machine
        super().__init__(
            {
                "i": In(stream.Signature(Prompt)),
                "o": Out(stream.Signature(Token)),
                "counters": Out(Counters),
                "busy": Out(1),
                "hold": In(1),
                "bos": In(range(machine.vocabulary)),
                "last_position": In(range(machine.context)),
                "start": Out(1),
                "token": Out(range(machine.vocabulary)),
                "position": Out(range(machine.context)),
                "sample": Out(1),
                "finished": In(1),
                "done": In(1),
                "sampled": In(range(machine.vocabulary)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        # Results of a prompt's token must be written before the next one moves on.
        flush = schedule.DRAIN + schedule.RESULT + schedule.WRITE + self._machine.beats
        flushing = Signal(range(flush + 1))
        following = Signal.like(self.position)
        at_end = Signal()
        truncated = Signal()
        m.d.comb += at_end.eq(self.position == self.last_position)

        free = ~self.o.valid | self.o.ready
        ends = at_end | (self.sampled == self.bos)
        counters = self.counters
        m.d.sync += [self.start.eq(0), counters.cycles.eq(counters.cycles + 1)]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)

        def begin(token, position, sample):
            m.d.sync += [
                self.start.eq(1),
                self.token.eq(token),
                self.position.eq(position),
                self.sample.eq(sample),
            ]

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.i.ready.eq(~self.hold)
                with m.If(self.i.valid & ~self.hold):
                    begin(self.i.p.token, 0, self.i.p.last | (self.last_position == 0))
                    m.d.sync += truncated.eq(~self.i.p.last)
                    m.next = "TOKEN"
            with m.State("TOKEN"):
                m.d.comb += self.busy.eq(1)
                m.d.sync += flushing.eq(flush)
                with m.If(self.sample & self.done):
                    m.next = "EMIT"
                with m.Elif(~self.sample & self.finished):
                    m.next = "FLUSH"
            with m.State("FLUSH"):
                m.d.comb += self.busy.eq(1)
                m.d.sync += flushing.eq(flushing - 1)
                with m.If(flushing == 0):
                    m.next = "PROMPT"
            with m.State("PROMPT"):
                m.d.comb += [self.busy.eq(1), self.i.ready.eq(1)]
                m.d.comb += following.eq(self.position + 1)
                with m.If(self.i.valid):
                    # A prompt that does not fit is cut: what the context cannot hold is dropped.
                    begin(
                        self.i.p.token,
                        following,
                        self.i.p.last | (following == self.last_position),
                    )
                    m.d.sync += truncated.eq(~self.i.p.last)
                    m.next = "TOKEN"
            with m.State("EMIT"):
                m.d.comb += self.busy.eq(1)
                with m.If(free):
                    m.d.sync += [
                        self.o.valid.eq(1),
                        self.o.p.token.eq(self.sampled),
                        self.o.p.position.eq(self.position),
                        self.o.p.last.eq(ends),
                        counters.tokens.eq(counters.tokens + 1),
                    ]
                    with m.If(~ends):
                        begin(self.sampled, self.position + 1, 1)
                        m.next = "TOKEN"
                    with m.Elif(truncated):
                        m.next = "DROP"
                    with m.Else():
                        m.next = "IDLE"
                with m.Else():
                    m.d.sync += counters.stalls.eq(counters.stalls + 1)
            with m.State("DROP"):
                m.d.comb += [self.busy.eq(1), self.i.ready.eq(1)]
                with m.If(self.i.valid & self.i.p.last):
                    m.d.sync += truncated.eq(0)
                    m.next = "IDLE"
        return m
