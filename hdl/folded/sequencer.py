"""The program counter: instructions become issues, one quad a cycle."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from gptloom.firmware.isa import Kind
from gptloom.firmware.machine import QUAD, Machine
from gptloom.hdl.arithmetic import quotient
from gptloom.hdl.attributes import LOADED
from gptloom.hdl.folded.layouts import issue_fields, issues, places, slot_address


def _steps(machine: Machine) -> data.StructLayout:
    """Return the layout of an instruction as it is executed.

    A pass takes ``last_cycle + 1`` cycles, the last `padding` of them without an operand;
    `passes_left` follow the first one, which waits for `delay` cycles and one more if it `waits`.
    """
    read = issue_fields(machine)
    score_passes = machine.key_stride(machine.context) * machine.shares
    value_stride = machine.value_stride(machine.context)
    beats = max(machine.beats, machine.score_beats)
    return data.StructLayout(
        {
            "base": read["base"].shape,
            "source": read["source"].shape,
            "pass_step": range(max(1 << read["quads"].width, value_stride + 1)),
            "passes_left": range(max(1 << read["passes"].width, score_passes)),
            "last_cycle": range(max(1 << read["quads"].width, value_stride, beats)),
            "padding": range(max(machine.beats, machine.score_beats)),
            "delay": read["delay"].shape,
            "waits": 1,
            "matrix": 1,
            "scores": 1,
            "values": 1,
            "over": 1,
        }
    )


class Sequencer(wiring.Component):
    """Steps through the program of one token.

    An instruction takes ``delay + passes * max(quads, beats)`` cycles; the next one follows without
    a gap. ``SCORES`` and ``VALUES`` replace passes or quads by what the position needs, and
    ``VALUES`` waits for the softmax. While idle it reads instruction 0, whose first cycle is the
    third one after the start.

    Attributes
    ----------
    start : In(1)
        Begin a token, while idle for two cycles or more; its position and `sample` are stable
        until the next start.
    position : In
        Position of the token.
    places : In
        Slots of the cache where keys and values of its document are, if there are several.
    sample : In(1)
        Whether logits are wanted: if not, the program ends at ``prefill_final``.
    key_stride, value_stride : In
        Settings of the model: operand words from quad to quad of the keys, and from pass to pass of
        the values.
    softmax_ready : In(1)
        The numerators of the present scores are written; if the mix overlaps the softmax, they will
        be in time, word by word.
    fetch, fetch_address : Out
        Read enable and address of the program memory.
    instruction : In
        Instruction that was read.
    issue : Out
        The present cycle's work.
    operand, row : Out
        Its address in the operand memory and in the activation banks.
    scores_begin : Out(1)
        First issue of ``SCORES``.
    finished : Out(1)
        High in the last cycle of a token's program.
    """

    def __init__(self, machine: Machine):
        self._machine = machine
        several = {"places": In(places(machine))} if machine.slots > 1 else {}
        super().__init__(
            {
                **several,
                "start": In(1),
                "position": In(range(machine.context)),
                "sample": In(1),
                "key_stride": In(range(machine.key_stride(machine.context) + 1)),
                "value_stride": In(range(machine.value_stride(machine.context) + 1)),
                "softmax_ready": In(1),
                "fetch": Out(1),
                "fetch_address": Out(range(machine.program_words)),
                "instruction": In(issue_fields(machine)),
                "issue": Out(issues(machine)),
                "operand": Out(machine.address_bits),
                "row": Out(range(machine.activation_words)),
                "scores_begin": Out(1),
                "finished": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        machine = self._machine
        decoded = self._decoded(m)
        new, now = Signal(_steps(machine), **LOADED), Signal(_steps(machine), **LOADED)

        # Cycles in which the first instruction is decoded and taken.
        begin, beginning = Signal(2), Signal()
        advance, load = Signal(), Signal()
        running = Signal()
        waiting, due = Signal(), Signal(**LOADED)
        operation = Signal(machine.operation_bits, **LOADED)

        # Counters go down, and their end is known as it comes: whether the next instruction is
        # taken decides on most registers here, and on the fetch.
        cycles_left = Signal.like(now.last_cycle, **LOADED)
        ends_pass = Signal(**LOADED)
        ends = Signal(**LOADED)
        first = Signal(**LOADED)
        opening = Signal(**LOADED)
        offset = Signal(range(max(2, machine.passes_per_position)), **LOADED)
        # Heads that share keys and values take turns at a word.
        share = Signal(range(machine.shares), **LOADED)
        pass_base = Signal(machine.address_bits, **LOADED)
        next_base = Signal(machine.address_bits)
        quad_step = Signal.like(self.key_stride, **LOADED)
        bank = Signal(range(max(machine.heads, 2)), **LOADED)
        operand = Signal.like(self.operand, **LOADED)
        row = Signal.like(self.row, **LOADED)

        slot = self._slot(m, load, new, now, running & ends_pass, running)
        m.d.comb += [
            self.operand.eq(operand | slot_address(machine, slot)),
            self.row.eq(row),
            self.issue.valid.eq(running & (cycles_left >= now.padding)),
            self.issue.first.eq(first),
            self.issue.last.eq(cycles_left == now.padding),
            self.issue.broadcast.eq(now.matrix),
            self.issue.bank.eq(bank),
            self.issue.offset.eq(offset),
            self.issue.job.operation.eq(operation),
            self.issue.job.opening.eq(opening),
            self.scores_begin.eq(running & now.scores & first & opening),
            self.finished.eq(running & ends & now.over),
        ]

        with m.If(running):
            m.d.sync += first.eq(ends_pass)
            with m.If(ends_pass):
                m.d.sync += [
                    cycles_left.eq(now.last_cycle),
                    ends_pass.eq(now.last_cycle == 0),
                    now.passes_left.eq(now.passes_left - 1),
                    ends.eq((now.last_cycle == 0) & (now.passes_left == 1)),
                    opening.eq(0),
                    pass_base.eq(next_base),
                    operand.eq(next_base),
                    share.eq(share + 1),
                    row.eq(now.source),
                    bank.eq(0),
                ]
                if machine.passes_per_position > 1:
                    m.d.sync += offset.eq(offset + 1)
            with m.Else():
                m.d.sync += [
                    cycles_left.eq(cycles_left - 1),
                    ends_pass.eq(cycles_left == 1),
                    ends.eq((cycles_left == 1) & (now.passes_left == 0)),
                    operand.eq(operand + quad_step),
                ]
                with m.If(~now.matrix | (bank == machine.heads - 1)):
                    m.d.sync += [row.eq(row + 1), bank.eq(0)]
                with m.Else():
                    m.d.sync += bank.eq(bank + 1)
            with m.If(ends):
                m.d.sync += running.eq(0)
        with m.Elif(waiting):
            m.d.sync += [now.delay.eq(now.delay - 1), due.eq(due | (now.delay == 1))]
            with m.If(due & (~now.values | self.softmax_ready)):
                m.d.sync += [waiting.eq(0), running.eq(1)]
        m.d.comb += next_base.eq(pass_base + now.pass_step)
        if machine.overlaps:
            m.d.comb += self.issue.fresh.eq(now.values & opening)
        if machine.shares > 1:
            m.d.comb += self.issue.share.eq(share)
            with m.If(~now.matrix & ~share.all()):
                m.d.comb += next_base.eq(pass_base)

        # An instruction is read, decoded, then under way.
        idle = ~running & ~waiting
        m.d.comb += [
            load.eq(begin[1] | (running & ends & ~now.over)),
            advance.eq(beginning | (running & ends & ~now.over)),
            self.fetch.eq(idle | load),
        ]
        m.d.sync += [begin.eq(Cat(self.start, begin)), beginning.eq(self.start | begin[0])]
        with m.If(self.start | advance):
            m.d.sync += self.fetch_address.eq(self.fetch_address + 1)
        with m.Elif(idle):
            m.d.sync += self.fetch_address.eq(0)
        with m.If(advance):
            m.d.sync += new.eq(decoded)

        step = self._padded(m, new)
        with m.If(load):
            m.d.sync += [
                now.eq(step),
                operation.eq(Mux(begin[1], 0, operation + 1)),
                first.eq(1),
                opening.eq(1),
                bank.eq(0),
                operand.eq(new.base),
                pass_base.eq(new.base),
                row.eq(new.source),
                cycles_left.eq(step.last_cycle),
                ends_pass.eq(step.last_cycle == 0),
                ends.eq((step.last_cycle == 0) & (new.passes_left == 0)),
                quad_step.eq(Mux(new.scores, self.key_stride, 1)),
                due.eq(new.delay == 0),
                running.eq(~new.waits),
                waiting.eq(new.waits),
                share.eq(0),
            ]
            if machine.passes_per_position > 1:
                m.d.sync += offset.eq(0)
        return m

    def _slot(self, m: Module, load, new, now, passed, running) -> Signal:
        """Return the slot of the cache that the present operand is in, 0 for weights."""
        machine = self._machine
        slot = Signal(range(max(machine.slots, 1)), **LOADED)
        if machine.slots < 2:
            return slot
        where = self.places
        cached = new.scores | new.values
        if not machine.joins:
            with m.If(load):
                m.d.sync += slot.eq(Mux(cached, where.tail, 0))
            return slot
        # Passes over keys, or quads of values, up to the joint.
        key_passes = machine.granule * machine.passes_per_position // machine.positions_per_pass
        keys, values = where.joint * key_passes, where.joint * (machine.granule // QUAD)
        left = Signal(range(machine.context * machine.passes_per_position + 1), **LOADED)
        begins = Mux(where.joint == 0, where.tail, where.head)
        with m.If(load):
            m.d.sync += [
                slot.eq(Mux(cached, begins, 0)),
                left.eq(Mux(new.scores, keys, values)),
            ]
        with m.Elif(passed & now.values):
            m.d.sync += [slot.eq(begins), left.eq(values)]
        with m.Elif(Mux(now.scores, passed, running & now.values)):
            m.d.sync += left.eq(left - 1)
            with m.If(left == 1):
                m.d.sync += slot.eq(where.tail)
        return slot

    def _decoded(self, m: Module) -> Signal:
        """Return what is done for the instruction that was read, at the token's position."""
        machine, read = self._machine, self.instruction
        step = Signal(_steps(machine))
        scores, values = read.kind == Kind.SCORES, read.kind == Kind.VALUES
        m.d.comb += [
            step.last_cycle.eq(Mux(values, quotient(self.position, QUAD), read.quads - 1)),
            step.passes_left.eq(Mux(scores, self._last_score_pass(), read.passes - 1)),
            step.pass_step.eq(Mux(scores, 1, Mux(values, self.value_stride, read.quads))),
            step.base.eq(read.base),
            step.source.eq(read.source),
            # Looking whether the softmax is ready takes a cycle.
            step.waits.eq(values | (read.delay != 0)),
            step.delay.eq(Mux(values, 0, read.delay - 1)),
            step.matrix.eq(read.kind == Kind.MATRIX),
            step.scores.eq(scores),
            step.values.eq(values),
            step.over.eq(read.final | (read.prefill_final & ~self.sample)),
        ]
        return step

    def _padded(self, m: Module, decoded) -> Signal:
        """Return a decoded instruction with passes at least as long as their results need."""
        machine, step = self._machine, Signal(_steps(self._machine))
        quads, least = decoded.last_cycle, Signal(range(max(machine.beats, machine.score_beats)))
        m.d.comb += [
            least.eq(Mux(decoded.scores, machine.score_beats - 1, machine.beats - 1)),
            step.eq(decoded),
        ]
        with m.If(quads < least):
            m.d.comb += [step.last_cycle.eq(least), step.padding.eq(least - quads)]
        return step

    def _last_score_pass(self):
        machine = self._machine
        if machine.positions_per_pass > 1:
            return quotient(self.position, machine.positions_per_pass)
        return (self.position + 1) * machine.passes_per_position - 1
