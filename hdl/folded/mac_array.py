"""The MAC array: units of four multipliers, an adder and an accumulator."""

from collections.abc import Sequence

from amaranth.hdl import Array, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from gptloom.firmware.latencies import operand_latency
from gptloom.firmware.machine import QUAD, Machine
from gptloom.hdl.attributes import KEEP, LOADED
from gptloom.hdl.delay import late
from gptloom.hdl.folded.layouts import accumulator, issues, job, quad
from gptloom.hdl.multipliers import Multiplier


class MacArray(wiring.Component):
    """Multiplies and accumulates; `units` dot products at a time.

    Unit u multiplies its four bytes of the operand word with one quad: the quad on broadcast, or
    that of head ``(u + offset * units) % heads``. Heads that share keys and values belong to units
    that are neighbours, and take the bytes of one of them in turn: that with the number `share`.

    Attributes
    ----------
    latency
        From `issue` to `done`: 6 cycles, 8 in a deep machine, 5 in a gated one, whose parts add
        four products to an accumulator in a cycle.
    multipliers
        Multiplier of each lane.
    issue : In
        Present cycle's work.
    words : In
        Operand memory's output for an issue, in its time (:func:`.operand_latency`).
    quads : In
        Activation banks' outputs, one cycle after the issue.
    numerators : In
        Replacement of the quads where the issue says that they are fresh.
    done : Out(1)
        `sums` are the dot products of a whole pass, and `job` says what they are.
    next_operation : Out
        Value of the job's operation in the next cycle.
    """

    def __init__(self, machine: Machine, multipliers: Sequence[type[Multiplier]] | None = None):
        self._machine = machine
        self.latency = 4 + Multiplier.latency + 2 * machine.deep - machine.gated
        self.multipliers = multipliers or [Multiplier] * machine.lanes
        quads = data.ArrayLayout(quad(machine), machine.heads)
        super().__init__(
            {
                **({"numerators": In(quads)} if machine.overlaps else {}),
                "issue": In(issues(machine)),
                "words": In(machine.unit_bits).array(machine.units),
                "quads": In(quads),
                "done": Out(1),
                "sums": Out(accumulator(machine)).array(machine.units),
                "job": Out(job(machine)),
                "next_operation": Out(machine.operation_bits),
            }
        )

    def elaborate(self, platform):
        m = Module()
        machine = self._machine

        stages = [self.issue]
        for number in range(self.latency):
            stage = Signal(self.issue.shape(), name=f"issue_{number + 1}")
            m.d.sync += stage.eq(stages[-1])
            stages.append(stage)
        adding, end = stages[self.latency - 1], stages[self.latency]
        m.d.comb += [
            self.done.eq(end.valid & end.last),
            self.job.eq(end.job),
            self.next_operation.eq(adding.job.operation),
        ]

        operands, words = self._operands(m, stages), self._words(stages[operand_latency(machine)])
        element, lane_bits = machine.element_bits, machine.lane_bits

        for unit in range(machine.units):
            operand_quad = operands[unit % len(operands)]
            # Where the memory has a register, this one is the multipliers' own.
            word = late(m, words[unit], 2 + machine.deep - operand_latency(machine))
            products = []
            for lane in range(QUAD):
                multiplier = self.multipliers[unit * QUAD + lane](
                    signed(element), signed(lane_bits)
                )
                m.submodules[f"multiplier_{unit}_{lane}"] = multiplier
                operand = word.word_select(lane, lane_bits)
                m.d.comb += [multiplier.a.eq(operand_quad[lane]), multiplier.b.eq(operand)]
                products.append(multiplier.o)
            sum_ = Signal(signed(element + lane_bits + 2), name=f"sum_{unit}", attrs=KEEP)
            total = Signal(accumulator(machine), name=f"total_{unit}", **LOADED)
            pairs = zip(products[::2], products[1::2], strict=True)
            halves = []
            for one, other in pairs:
                half = Signal(signed(element + lane_bits + 1), attrs=KEEP)
                m.d.comb += half.eq(one + other)
                halves.append(late(m, half, machine.deep))
            domain = m.d.comb if machine.gated else m.d.sync
            domain += sum_.eq(halves[0] + halves[1])
            with m.If(adding.valid):
                if machine.gated:
                    # Nothing follows the last of three additions.
                    m.d.sync += total.eq(Mux(adding.first, 0, total) + sum_)
                else:
                    # In this order a bit of it is one lookup table.
                    m.d.sync += total.eq(Mux(adding.first, sum_, total + sum_))
            m.d.comb += self.sums[unit].eq(total)
        return m

    def _words(self, read) -> list:
        """Return every unit's word: its own, or that of a neighbour whose turn it is."""
        shares = self._machine.shares
        if shares == 1:
            return list(self.words)
        found = []
        for unit, own in enumerate(self.words):
            first = unit - unit % shares
            shared = Array(self.words[first + i] for i in range(shares))[read.share]
            found.append(Mux(read.broadcast, own, shared))
        return found

    def _operands(self, m: Module, stages) -> list:
        """Return quads, one for every distinct head among the units.

        They have a register, in a gated machine before the choice: there it takes the time that
        the memory would leave of a cycle, and the multipliers have registers of their own.
        """
        machine = self._machine
        deep, first = machine.deep, machine.gated
        quads, read = late(m, self.quads, first), stages[1 + first]
        broadcast = stages[1 + first + deep].broadcast
        shared = late(m, quads[read.bank], deep)
        operands = []
        for head in range(machine.score_heads):
            own = quads[head]
            if machine.units < machine.heads:
                own = quads[(head + read.offset * machine.units)[: len(read.bank)]]
            if machine.overlaps:
                # The first pass of all, which begins with the first head.
                own = Mux(read.fresh, late(m, self.numerators[head], first), own)
            operand = Signal(quad(machine), name=f"operand_{head}")
            m.d.comb += operand.eq(Mux(broadcast, shared, late(m, own, deep)))
            operands.append(late(m, operand, 1 - first))
        return operands
