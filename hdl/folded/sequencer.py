"""The program counter: instructions become issues, one quad a cycle."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gptloom.firmware.isa import ISSUE_WIDTHS, Kind
from gptloom.firmware.machine import QUAD, Machine
from gptloom.hdl.arithmetic import quotient
from gptloom.hdl.folded.layouts import ADDRESS_BITS, STRIDE_BITS, Instruction, Issue


class Sequencer(wiring.Component):
    """Steps through the program of one token.

    An instruction takes ``delay + passes * max(quads, beats)`` cycles; the next one follows without
    a gap. ``SCORES`` and ``VALUES`` replace passes or quads by what the position needs, and
    ``VALUES`` waits for the softmax. While idle it reads instruction 0.

    Attributes
    ----------
    start : In(1)
        Begin a token; its position and `sample` are stable until the next start.
    position : In
        Position of the token.
    sample : In(1)
        Whether logits are wanted: if not, the program ends at ``prefill_final``.
    key_stride, value_stride : In
        Of the model: operand words from quad to quad of the keys, from pass to pass of the values.
    softmax_ready : In(1)
        The numerators of the present scores are written.
    fetch, fetch_address : Out
        Read enable and address of the program memory.
    instruction : In
        What was read.
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
        super().__init__(
            {
                "start": In(1),
                "position": In(range(machine.context)),
                "sample": In(1),
                "key_stride": In(STRIDE_BITS),
                "value_stride": In(STRIDE_BITS),
                "softmax_ready": In(1),
                "fetch": Out(1),
                "fetch_address": Out(range(machine.program_words)),
                "instruction": In(Instruction),
                "issue": Out(Issue),
                "operand": Out(ADDRESS_BITS),
                "row": Out(range(machine.activation_words)),
                "scores_begin": Out(1),
                "finished": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        machine = self._machine
        new, now = self.instruction, Signal(Instruction)

        # Two words ahead of the instruction under way.
        next_word = Signal(range(machine.program_words + 2))
        load = Signal()
        running = Signal()
        waiting = Signal()
        delay = Signal(ISSUE_WIDTHS["delay"])

        # What is left is counted as well, and its end known as a pass begins: whether the next
        # instruction is taken decides on most registers here, and on the fetch.
        slot = Signal(ISSUE_WIDTHS["quads"])
        slots_left = Signal.like(slot)
        last_slot = Signal.like(slot)
        last_quad = Signal.like(slot)
        ends_pass = Signal()
        pass_ = Signal(ISSUE_WIDTHS["passes"])
        passes_left = Signal.like(pass_)
        on_last_pass = Signal()
        pass_base = Signal(ADDRESS_BITS)
        quad_step = Signal(STRIDE_BITS)
        pass_step = Signal(STRIDE_BITS)
        bank = Signal(range(max(machine.heads, 2)))

        m.d.comb += [
            self.issue.valid.eq(running & (slot <= last_quad)),
            self.issue.first.eq(slot == 0),
            self.issue.last.eq(slot == last_quad),
            self.issue.broadcast.eq(now.kind == Kind.MATRIX),
            self.issue.bank.eq(bank),
            self.issue.offset.eq(pass_ & (machine.words_per_position - 1)),
            self.issue.job.operation.eq(next_word - 2),
            self.issue.job.opening.eq(pass_ == 0),
            self.scores_begin.eq(running & (now.kind == Kind.SCORES) & (slot == 0) & (pass_ == 0)),
        ]

        ends = running & ends_pass & on_last_pass
        over = now.final | (now.prefill_final & ~self.sample)
        m.d.comb += self.finished.eq(ends & over)

        with m.If(running):
            with m.If(ends_pass):
                m.d.sync += [
                    slot.eq(0),
                    slots_left.eq(last_slot),
                    ends_pass.eq(last_slot == 0),
                    pass_.eq(pass_ + 1),
                    passes_left.eq(passes_left - 1),
                    on_last_pass.eq(passes_left == 1),
                    pass_base.eq(pass_base + pass_step),
                    self.operand.eq(pass_base + pass_step),
                    self.row.eq(now.source),
                    bank.eq(0),
                ]
            with m.Else():
                m.d.sync += [
                    slot.eq(slot + 1),
                    slots_left.eq(slots_left - 1),
                    ends_pass.eq(slots_left == 1),
                    self.operand.eq(self.operand + quad_step),
                ]
                with m.If((now.kind != Kind.MATRIX) | (bank == machine.heads - 1)):
                    m.d.sync += [self.row.eq(self.row + 1), bank.eq(0)]
                with m.Else():
                    m.d.sync += bank.eq(bank + 1)
            with m.If(ends):
                m.d.sync += running.eq(0)
        with m.Elif(waiting):
            with m.If(delay != 0):
                m.d.sync += delay.eq(delay - 1)
            with m.Elif((now.kind != Kind.VALUES) | self.softmax_ready):
                m.d.sync += [waiting.eq(0), running.eq(1)]

        idle = ~running & ~waiting
        m.d.comb += [
            load.eq(Mux(idle, self.start, ends & ~over)),
            self.fetch.eq(idle | load),
            self.fetch_address.eq(Mux(idle & ~self.start, 0, next_word)),
        ]
        with m.If(idle & ~self.start):
            m.d.sync += next_word.eq(1)
        with m.Elif(load):
            m.d.sync += next_word.eq(next_word + 1)

        scores, values = new.kind == Kind.SCORES, new.kind == Kind.VALUES
        quads = Signal.like(slot)
        least = Signal.like(slot)
        slots = Signal.like(slot)
        passes = Signal.like(pass_)
        m.d.comb += [
            quads.eq(Mux(values, quotient(self.position, QUAD), new.quads - 1)),
            least.eq(Mux(scores, machine.score_beats - 1, machine.beats - 1)),
            slots.eq(Mux(quads > least, quads, least)),
            passes.eq(Mux(scores, self._last_score_pass(), new.passes - 1)),
        ]
        with m.If(load):
            m.d.sync += [
                now.eq(new),
                delay.eq(new.delay - 1),
                slot.eq(0),
                pass_.eq(0),
                bank.eq(0),
                self.operand.eq(new.base),
                pass_base.eq(new.base),
                self.row.eq(new.source),
                last_quad.eq(quads),
                last_slot.eq(slots),
                slots_left.eq(slots),
                ends_pass.eq((quads == 0) & (least == 0)),
                passes_left.eq(passes),
                on_last_pass.eq(passes == 0),
                quad_step.eq(Mux(scores, self.key_stride, 1)),
                pass_step.eq(Mux(scores, 1, Mux(values, self.value_stride, new.quads))),
            ]
            with m.If((new.delay == 0) & ~values):
                m.d.sync += [running.eq(1), waiting.eq(0)]
            with m.Else():
                m.d.sync += [running.eq(0), waiting.eq(1)]
                with m.If(new.delay == 0):
                    m.d.sync += delay.eq(0)
        return m

    def _last_score_pass(self):
        machine = self._machine
        if machine.positions_per_word > 1:
            return quotient(self.position, machine.positions_per_word)
        return (self.position + 1) * machine.words_per_position - 1
