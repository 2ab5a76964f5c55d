"""A document, token by token."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from gptloom.firmware.latencies import flush_cycles
from gptloom.firmware.machine import Machine
from gptloom.hdl.core import Counters, Prompt, Token
from gptloom.hdl.delay import delayed
from gptloom.model.cache import Eviction
from gptloom.model.golden import MAX_POSITION


class Control(wiring.Component):
    """Feeds known tokens, then sampled ones, until the document or the context ends.

    With eviction there is no end of the context, and a document that ends is followed by another
    that can see it, until a prompt is offered or something else waits for the core.

    Attributes
    ----------
    i, o, counters, busy
        See :class:`.CoreSignature`.
    keep : In
        Position of a document's first known token: keys and values of that many tokens before it
        are those of the last document. Without eviction only.
    hold : In(1)
        Do not begin a document.
    bos, last_position : In
        Token that ends a document, and the context's end; settings of the model.
    start : Out(1)
        A token begins: `token`, `position` and `sample` are new, and stay until it is done.
    fresh : Out(1)
        With eviction: nothing comes before this token.
    sample : Out(1)
        The token after this one is not known.
    finished : In(1)
        The program is over; results may still be under way.
    done, sampled : In
        The sampler has chosen.
    """

    def __init__(self, machine: Machine):
        self._machine = machine
        self._endless = machine.eviction is not Eviction.NONE
        # Counted so far in a document, and then stays.
        self._place = range(MAX_POSITION + 1 if self._endless else machine.context)
        super().__init__(
            {
                "i": In(stream.Signature(Prompt)),
                "o": Out(stream.Signature(Token)),
                "counters": Out(Counters),
                "busy": Out(1),
                "keep": In(range(machine.context)),
                "hold": In(1),
                "bos": In(range(machine.vocabulary)),
                "last_position": In(range(machine.context)),
                "start": Out(1),
                "token": Out(range(machine.vocabulary)),
                "position": Out(self._place),
                "fresh": Out(1),
                "sample": Out(1),
                "finished": In(1),
                "done": In(1),
                "sampled": In(range(machine.vocabulary)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        # Results of a prompt's token must be written before the next one moves on.
        cycles = flush_cycles(self._machine)
        # Counts up from what makes its top bit the end's sign.
        end = 1 << cycles.bit_length()
        flushing = Signal(range(2 * end))
        finished = delayed(m, self.finished)
        # Known a cycle after the position, which stays for much longer.
        following, last_follows = Signal.like(self.position), Signal()
        if self._endless:
            m.d.sync += following.eq(self.position + (self.position != MAX_POSITION))
        else:
            m.d.sync += following.eq(self.position + 1)
            m.d.sync += last_follows.eq(following == self.last_position)
        truncated = Signal()
        # Known a cycle after the token, which is when it is asked for.
        ends = Signal()
        at_end = Const(0) if self._endless else self.position == self.last_position
        m.d.sync += ends.eq(at_end | (self.sampled == self.bos))
        # Whether the next token is of the same document, or of another in the same stream.
        goes_on = ~ends | ~(self.i.valid | self.hold) if self._endless else ~ends

        free = ~self.o.valid | self.o.ready
        counters = self.counters
        m.d.sync += [self.start.eq(0), counters.cycles.eq(counters.cycles + 1)]
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)

        if self._endless:
            with m.If(self.start):
                m.d.sync += self.fresh.eq(0)

        def present(token, position, sample):
            m.d.sync += [
                self.token.eq(token),
                self.position.eq(position),
                self.sample.eq(sample),
            ]

        idle = Signal(init=1)
        token, flush, prompt, emit, drop = (
            Signal(name=name) for name in ("token", "flush", "prompt", "emit", "drop")
        )
        taken = self.i.valid & ~self.hold
        # One register for each state: in few steps of logic there is no time to decode a number.
        moves = [
            (idle, token, taken),
            (token, emit, self.sample & self.done),
            (token, flush, ~self.sample & finished),
            (flush, prompt, flushing[-1]),
            (prompt, token, self.i.valid),
            (emit, token, free & goes_on),
            (emit, drop, free & ~goes_on & truncated),
            (emit, idle, free & ~goes_on & ~truncated),
            (drop, idle, self.i.valid & self.i.p.last),
        ]
        for state in (idle, token, flush, prompt, emit, drop):
            enters = Cat(source & when for source, target, when in moves if target is state).any()
            leaves = Cat(when for source, _, when in moves if source is state).any()
            m.d.sync += state.eq(enters | (state & ~leaves))
        m.d.comb += [
            self.busy.eq(~idle),
            self.i.ready.eq(prompt | drop | (idle & ~self.hold)),
        ]

        with m.If(idle):
            # Whoever holds the beginning is far away: what is presented does not depend on it.
            begin = Const(0) if self._endless else self.keep
            full = Const(0) if self._endless else self.last_position == begin
            present(self.i.p.token, begin, self.i.p.last | full)
            m.d.sync += [self.start.eq(taken), self.fresh.eq(1)]
            if not self._endless:
                m.d.sync += truncated.eq(~self.i.p.last)
        with m.If(token):
            m.d.sync += flushing.eq(end + 1 - cycles)
        with m.If(flush):
            m.d.sync += flushing.eq(flushing + 1)
        with m.If(prompt & self.i.valid):
            # A prompt that does not fit is cut: what the context cannot hold is dropped.
            present(self.i.p.token, following, self.i.p.last | last_follows)
            m.d.sync += self.start.eq(1)
            if not self._endless:
                m.d.sync += truncated.eq(~self.i.p.last)
        with m.If(emit & free):
            present(self.sampled, Mux(ends, 0, following) if self._endless else following, 1)
            m.d.sync += [
                self.start.eq(goes_on),
                self.o.valid.eq(1),
                self.o.p.token.eq(self.sampled),
                self.o.p.position.eq(self.position),
                self.o.p.last.eq(ends),
                counters.tokens.eq(counters.tokens + 1),
            ]
        with m.If(emit & ~free):
            m.d.sync += counters.stalls.eq(counters.stalls + 1)
        return m
