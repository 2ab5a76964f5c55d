"""One over the sums of all heads."""

from amaranth.hdl import Array, Module, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from gptloom.firmware.machine import Machine
from gptloom.hdl.arithmetic import leading_one
from gptloom.hdl.delay import delayed, late
from gptloom.hdl.folded.layouts import Scale
from gptloom.model.tables import RECIPROCAL_INDEX_BITS, RECIPROCAL_TABLE


class Reciprocal(wiring.Component):
    """Equals :func:`gptloom.model.tables.reciprocal`, head after head or two heads at a time.

    Parameters
    ----------
    machine
        Its heads have sums.
    bits
        Width of a sum.
    together
        Heads whose sums come at a time.

    Attributes
    ----------
    latency
        From `valid` to the head's reciprocal: 3 cycles, 5 in a deep machine.
    valid, head, totals : In
        Sums, above 0, of one head or of two from `head` on.
    reciprocals : Out
        One over the latest sum of every head.
    """

    def __init__(self, machine: Machine, bits: int, together: int = 1):
        self._machine, self._together = machine, together
        self.latency = 3 + 2 * machine.deep
        super().__init__(
            {
                "valid": In(1),
                "head": In(range(max(2, machine.heads))),
                "totals": In(bits).array(together),
                "reciprocals": Out(data.ArrayLayout(Scale, machine.heads)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        which, valid = (delayed(m, s, self.latency - 1) for s in (self.head, self.valid))
        scales = [self._scale(m, total) for total in self.totals]
        for head in range(self._machine.heads):
            place = head % self._together
            with m.If(valid & (which == head - place)):
                m.d.sync += self.reciprocals[head].eq(scales[place])
        return m

    def _scale(self, m: Module, total: Value) -> data.View:
        """Return one over a sum, a cycle before it is kept."""
        deep = self._machine.deep
        present = late(m, total, deep)
        total, exponent = late(m, present), late(m, leading_one(m, present))
        index = Signal(RECIPROCAL_INDEX_BITS)
        m.d.sync += index.eq((total << RECIPROCAL_INDEX_BITS) >> exponent)
        mantissa = late(m, Array(RECIPROCAL_TABLE.tolist())[index], deep)
        scale = Signal(Scale)
        m.d.comb += [scale.mantissa.eq(mantissa), scale.exponent.eq(late(m, exponent, 1 + deep))]
        return scale
