"""Many documents in one pipeline: turns, and the next token of each document."""

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from gptloom.hdl.core import COUNTER_BITS, Counters, Prompt, Token
from gptloom.model.golden import MAX_POSITION


class Streams(wiring.Component):
    """Gives each stream a turn in rotation; a round of turns is as long as the pipeline.

    In its turn a stream gets the token that the pipeline has sampled for it, and enters the next
    one: that token, or a known one. If the document has ended, the next one begins in the same
    turn. A stream skips its turn if its last token has not been taken yet, or its known token is
    not offered.

    In a stream without end, a document that ends is followed by another that attends to it, unless
    a prompt is offered in that turn, or `hold` asks for the stream's end.

    Parameters
    ----------
    streams
        Number of streams.
    interval
        Cycles per turn.
    vocabulary, context
        Dimensions of the model. The last token of the vocabulary ends a document.
    endless
        The context does not end a document.

    Attributes
    ----------
    turn : Out
        The stream whose turn it is. A turn begins with the cycle in which this changes, and
        everything happens in that cycle; with an interval of 1 every cycle is a turn.
    begins : Out(1)
        This is the turn's first cycle.
    i : In(stream of Prompt)
        Known tokens of the stream whose turn it is, as :class:`.CoreSignature` has them.
    sampled : In
        In the turn's first cycle: the token sampled since the stream's last turn.
    hold : In(1)
        In the turn's first cycle: a stream without end shall end with its document.
    enter, token, position : Out(1), Out, Out
        The token that enters the pipeline.
    fresh : Out(1)
        It has no token before it to attend to.
    samples : Out(1)
        The token after it is not known, and is to be sampled.
    been_round : Out(1)
        All streams have had a turn since the reset.
    between : Out(1)
        It is the turn's first cycle, and the stream is between two documents.
    idle : Out(1)
        No document is in progress in the stream.
    o, o_stream : Out(stream of Token), Out
        Sampled tokens, and the stream of each.
    busy : Out(1)
        A document is in progress in some stream.
    counters : Out(Counters)
        Counters over all streams; `stalls` are turns in which a token could not leave.
    tokens : Out(32)
        Tokens sampled since the reset by the stream whose turn it is, before this turn.
    """

    def __init__(
        self, streams: int, interval: int, vocabulary: int, context: int, *, endless: bool = False
    ):
        if streams * interval < 2:
            raise ValueError("a stream of its own needs turns of at least 2 cycles")
        self._streams, self._interval = streams, interval
        self._bos, self._context, self._endless = vocabulary - 1, context, endless
        super().__init__(
            {
                "turn": Out(range(streams)),
                "begins": Out(1),
                "i": In(stream.Signature(Prompt)),
                "sampled": In(range(vocabulary)),
                "hold": In(1),
                "enter": Out(1),
                "token": Out(range(vocabulary)),
                # In a stream without end it saturates.
                "position": Out(range(MAX_POSITION + 1 if endless else context)),
                "fresh": Out(1),
                "samples": Out(1),
                "been_round": Out(1),
                "between": Out(1),
                "idle": Out(1),
                "o": Out(stream.Signature(Token)),
                "o_stream": Out(range(streams)),
                "busy": Out(1),
                "counters": Out(Counters),
                "tokens": Out(COUNTER_BITS),
            }
        )

    def elaborate(self, platform):
        m = Module()
        state = data.StructLayout(
            {
                "busy": 1,  # A document is in progress.
                "known": 1,  # Its next token is in the prompt.
                "surplus": 1,  # So is more than fits the document, which is dropped.
                "holds": 1,  # A sampled token has not left yet.
                "held": self.sampled.shape(),
                "position": self.position.shape(),
            }
        )
        m.submodules.states = states = Memory(shape=state, depth=self._streams, init=[])
        read, write = states.read_port(domain="comb"), states.write_port()
        now, then = Signal(state), Signal(state)
        ends, last = self._turns(m)
        # The state is read ahead, to be ready when the turn begins.
        m.d.comb += read.addr.eq(Mux(last, 0, self.turn + 1))
        with m.If(ends):
            # A reset leaves the memory as it is.
            m.d.sync += now.as_value().eq(Mux(self.been_round | last, read.data.as_value(), 0))
        m.d.comb += [
            write.addr.eq(self.turn),
            write.data.eq(then),
            write.en.eq(self.begins),
        ]

        result, finishes = Signal.like(self.sampled), Signal()
        has_result = now.busy & ~now.known
        room = ~self.o.valid | self.o.ready
        waits = has_result & ~room
        m.d.comb += [
            result.eq(Mux(now.holds, now.held, self.sampled)),
            finishes.eq(has_result & room & ((result == self._bos) | self._at_end(now.position))),
            self.between.eq(self.begins & (~now.busy | finishes)),
            self.idle.eq(~now.busy),
        ]
        with m.If(room):
            m.d.sync += self.o.valid.eq(self.begins & has_result)
        with m.If(self.begins & has_result & room):
            m.d.sync += [
                self.o.p.token.eq(result),
                self.o.p.position.eq(now.position),
                self.o.p.last.eq(finishes),
                self.o_stream.eq(self.turn),
            ]

        # Whether the next document continues the same stream.
        goes_on = ~(self.i.valid | self.hold) if self._endless else Const(0)
        wants = self.fresh | now.known
        drops = self.fresh & now.surplus
        following = now.position + (now.position != MAX_POSITION if self._endless else 1)
        last_place, more = Signal(), Signal()
        m.d.comb += [
            self.fresh.eq(~now.busy | (finishes & ~goes_on)),
            self.i.ready.eq(self.between | self.begins & now.known),
            self.position.eq(Mux(~now.busy | finishes, 0, following)),
            self.token.eq(Mux(wants, self.i.p.token, result)),
            self.enter.eq(self.begins & ~waits & Mux(wants, self.i.valid & ~drops, 1)),
            last_place.eq(self._at_end(self.position)),
            more.eq(wants & ~self.i.p.last),
            self.samples.eq(~more | last_place),
            then.eq(now),
            then.holds.eq(waits),
            then.held.eq(result),
        ]
        with m.If(self.enter):
            m.d.comb += [
                then.busy.eq(1),
                then.known.eq(more & ~last_place),
                then.surplus.eq(more & last_place),
                then.position.eq(self.position),
            ]
        with m.Elif(self.fresh):
            m.d.comb += [
                then.busy.eq(0),
                then.surplus.eq(now.surplus & ~(self.i.valid & self.i.p.last)),
            ]
        self._count(m, self.begins & has_result, room, self.begins & (then.busy ^ now.busy))
        return m

    def _at_end(self, position: Value) -> Value:
        """Return whether the document ends at this position."""
        return Const(0) if self._endless else position == self._context - 1

    def _turns(self, m: Module) -> tuple[Value, Value]:
        """Rotate turns; return whether the turn ends, and whether it is the last of a round."""
        if self._interval > 1:
            phase = Signal(range(self._interval))
            ends = phase == self._interval - 1
            m.d.sync += phase.eq(Mux(ends, 0, phase + 1))
            m.d.comb += self.begins.eq(phase == 0)
        else:
            ends = Const(1, 1)
            m.d.comb += self.begins.eq(1)
        last = self.turn == self._streams - 1
        with m.If(ends):
            m.d.sync += [
                self.turn.eq(Mux(last, 0, self.turn + 1)),
                self.been_round.eq(self.been_round | last),
            ]
        return ends, last

    def _count(self, m: Module, has_result, room, changes) -> None:
        """Count cycles, tokens, stalls, documents in progress, and each stream's tokens."""
        m.submodules.counts = counts = Memory(shape=COUNTER_BITS, depth=self._streams, init=[])
        read, write = counts.read_port(domain="comb"), counts.write_port()
        m.d.comb += [
            read.addr.eq(self.turn),
            self.tokens.eq(Mux(self.been_round, read.data, 0)),
            write.addr.eq(self.turn),
            write.data.eq(self.tokens + (has_result & room)),
            write.en.eq(self.begins),
        ]
        documents = Signal(range(self._streams + 1))
        counters = self.counters
        m.d.comb += self.busy.eq(documents != 0)
        m.d.sync += [
            counters.cycles.eq(counters.cycles + 1),
            counters.tokens.eq(counters.tokens + (has_result & room)),
            counters.stalls.eq(counters.stalls + (has_result & ~room)),
        ]
        with m.If(changes):
            m.d.sync += documents.eq(Mux(self.enter, documents + 1, documents - 1))
