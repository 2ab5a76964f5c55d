"""Prefixes that are kept: known tokens whose keys and values are in the cache are passed over."""

from amaranth.hdl import Array, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from gptloom.firmware.machine import Machine
from gptloom.hdl.arithmetic import quotient, remainder
from gptloom.hdl.core import Prompt
from gptloom.hdl.folded.layouts import places


class Prefix(wiring.Component):
    """Places documents in the cache's slots, as ``PrefixStore`` of ``tests/verification`` does.

    It stands before :class:`.Control`, which begins with the first token that is to be computed,
    and it remembers the token of every row. A known token that is passed over takes 3 cycles, a
    document 6 more.

    Attributes
    ----------
    i, o : In, Out(stream of Prompt)
        Known tokens, and those of them that are to be computed.
    final : In
        Last position of the context.
    hold : In(1)
        Do not begin a document. Until a token of one is taken it may also be withdrawn from `i`.
    clear : In(1)
        Forget all: there is another model.
    busy : In(1)
        A document is computed.
    start, token, position : In
        A token is, whose row this will be.
    active : Out(1)
        Tokens of a document were taken that nobody else has seen yet.
    placed : Out(1)
        The place of a document has been decided:
    keep, places : Out
        its first position that is computed, and where its rows are; both stay.
    """

    def __init__(self, machine: Machine):
        self._machine = machine
        row, token = range(machine.context), range(machine.vocabulary)
        super().__init__(
            {
                "i": In(stream.Signature(Prompt)),
                "o": Out(stream.Signature(Prompt)),
                "final": In(row),
                "hold": In(1),
                "clear": In(1),
                "busy": In(1),
                "start": In(1),
                "token": In(token),
                "position": In(row),
                "active": Out(1),
                "placed": Out(1),
                "keep": Out(row),
                "places": Out(places(machine)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        machine, slots = self._machine, self._machine.slots
        slot, length = range(slots), range(machine.context + 1)
        joins = machine.joins

        # How many tokens of each slot are true, and how many of them its prompt had.
        rows = Array(Signal(length, name=f"rows_{s}") for s in slot)
        prompts = Array(Signal(length, name=f"prompt_{s}") for s in slot)
        oldest = Signal(slot)
        row = Signal(range(machine.context))
        kept = self._tokens(m, row)

        # Slots that have all tokens so far, how many the others had, and the slots that have all
        # since the joint.
        alive = Signal(slots, init=-1)
        since = Signal(slots) if joins else Const(0, slots)
        shared = Array(Signal(range(machine.context), name=f"shared_{s}") for s in slot)
        head, joint = Signal.like(self.places.head), Signal.like(self.places.joint)
        match, able = Signal(slots), Signal(slots)
        alone = alive.any()
        final = self.i.p.last | (row == self.final)
        goes_on = (alive | since) & match

        # Tokens that a victim does not share are fed from where they were found.
        source = Signal(slot)
        found_head, found_tail, found_joint = Signal(slot), Signal(slot), Signal.like(joint)
        known = Signal(length)
        before_joint = quotient(row, machine.granule) < found_joint
        m.d.comb += source.eq(Mux(before_joint, found_head, found_tail))

        # Whoever asks for documents without end stops asking when something else comes.
        begun, replaces = Signal(), Signal()
        withdrawn = ~self.active & ~begun & (self.hold | ~self.i.valid)
        with m.FSM():
            with m.State("begin"):
                m.d.sync += [row.eq(0), alive.eq(-1)]
                m.d.sync += [count.eq(0) for count in shared]
                if joins:
                    m.d.sync += [since.eq(0), joint.eq(0)]
                m.d.sync += begun.eq(0)
                with m.If(self.i.valid & ~self.hold & ~self.busy):
                    m.next = "read"
            with m.State("read"):
                with m.If(withdrawn):
                    m.next = "begin"
                with m.Elif(self.i.valid):
                    m.next = "compare"
            with m.State("compare"):
                for s in slot:
                    same = (kept[s] == self.i.p.token) & (row < rows[s])
                    m.d.sync += match[s].eq(same)
                if joins:
                    with m.If(alone & (remainder(row, machine.granule) == 0)):
                        m.d.sync += [
                            joint.eq(quotient(row, machine.granule)),
                            head.eq(_lowest(alive)),
                            since.eq(Mux(row == 0, 0, -1)),
                        ]
                m.next = "judge"
            with m.State("judge"):
                with m.If(withdrawn):
                    m.next = "begin"
                with m.Elif(~final & goes_on.any()):
                    m.d.comb += self.i.ready.eq(1)
                    m.d.sync += self.active.eq(1)
                    m.d.sync += [row.eq(row + 1), alive.eq(alive & match)]
                    if joins:
                        m.d.sync += since.eq(since & match)
                    for s in slot:
                        with m.If(alive[s] & match[s]):
                            m.d.sync += shared[s].eq(row + 1)
                    m.next = "read"
                with m.Else():
                    reached = Mux(alone, alive, since)
                    for s in slot:
                        reach = row + match[s]
                        # One that was never used is taken in its turn.
                        used = prompts[s] != 0
                        m.d.sync += able[s].eq(reached[s] & used & (reach >= prompts[s]))
                    m.d.sync += [
                        found_head.eq(Mux(alone, _lowest(alive), head)),
                        found_tail.eq(_lowest(reached)),
                        found_joint.eq(Mux(alone, 0, joint)),
                    ]
                    m.next = "choose"
            with m.State("choose"):
                victim = ~able.any()
                tail = Mux(victim, oldest, _lowest(able))
                own = Mux(alive.bit_select(oldest, 1), row, shared[oldest])
                keep = Mux(victim, own, row)
                m.d.comb += self.placed.eq(1)
                m.d.sync += [
                    self.places.tail.eq(tail),
                    self.places.head.eq(Mux(victim | (found_joint == 0), tail, found_head)),
                    self.places.joint.eq(Mux(victim, 0, found_joint)),
                    self.keep.eq(keep),
                    known.eq(row + 1),
                    row.eq(keep),
                ]
                m.d.sync += replaces.eq(victim)
                m.next = "fetch"
            with m.State("fetch"):
                m.next = "feed"
                with m.If(row + 1 == known):
                    m.next = "pass"
            with m.State("feed"):
                m.d.comb += [self.o.valid.eq(1), self.o.p.token.eq(Array(kept)[source])]
                with m.If(self.o.ready):
                    m.d.sync += row.eq(row + 1)
                    m.next = "fetch"
            with m.State("pass"):
                with m.If(withdrawn):
                    m.next = "begin"
                with m.Else():
                    wiring.connect(m, wiring.flipped(self.i), wiring.flipped(self.o))
                with m.If(self.o.valid & self.o.ready):
                    m.d.sync += known.eq(known + (known != machine.context))
                    with m.If(self.o.p.last):
                        m.d.sync += prompts[self.places.tail].eq(known)
                        m.next = "run"
            with m.State("run"), m.If(~self.busy):
                m.next = "begin"

        with m.If(self.o.valid & self.o.ready):
            m.d.sync += [self.active.eq(0), begun.eq(1)]
            with m.If(replaces & ~begun):
                m.d.sync += oldest.eq(Mux(oldest == slots - 1, 0, oldest + 1))
        with m.If(self.start):
            m.d.sync += rows[self.places.tail].eq(self.position + 1)
        with m.If(self.clear):
            m.d.sync += [signal.eq(0) for signal in (*rows, *prompts, oldest)]
        return m

    def _tokens(self, m: Module, row: Signal) -> list:
        """Remember every row's token; return the tokens of a row in all slots, a cycle later."""
        machine = self._machine
        shape = data.ArrayLayout(self.token.shape(), machine.slots)
        m.submodules.tokens = tokens = Memory(shape=shape, depth=machine.context, init=[])
        write, read = tokens.write_port(granularity=1), tokens.read_port()
        m.d.comb += [
            write.en.eq(Mux(self.start, 1 << self.places.tail, 0)),
            write.addr.eq(self.position),
            read.addr.eq(row),
            read.en.eq(1),
        ]
        for s in range(machine.slots):
            m.d.comb += write.data[s].eq(self.token)
        return [read.data[s] for s in range(machine.slots)]


def _lowest(bits: Signal):
    """Return the number of the lowest bit that is set, 0 if none is."""
    number = 0
    for i in reversed(range(len(bits))):
        number = Mux(bits[i], i, number)
    return number
