"""One over the sums of all heads."""

from amaranth.hdl import Array, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from gptloom.firmware.machine import Machine
from gptloom.hdl.arithmetic import leading_one
from gptloom.hdl.delay import delayed
from gptloom.hdl.folded.layouts import Scale
from gptloom.model.tables import RECIPROCAL_INDEX_BITS, RECIPROCAL_TABLE


class Reciprocal(wiring.Component):
    """Equals :func:`gptloom.model.tables.reciprocal`, head after head.

    Attributes
    ----------
    latency
        From `valid` to the head's reciprocal: 3 cycles, 5 in a deep machine.
    valid, head, total : In
        A head's sum, above 0.
    reciprocals : Out
        One over the latest sum of every head.
    """

    def __init__(self, machine: Machine, bits: int):
        self._machine = machine
        self.latency = 3 + 2 * machine.deep
        super().__init__(
            {
                "valid": In(1),
                "head": In(range(max(2, machine.heads))),
                "total": In(bits),
                "reciprocals": Out(data.ArrayLayout(Scale, machine.heads)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        deep = self._machine.deep
        present = delayed(m, self.total, deep)
        total, exponent = delayed(m, present), delayed(m, leading_one(m, present))
        index = Signal(RECIPROCAL_INDEX_BITS)
        m.d.sync += index.eq((total << RECIPROCAL_INDEX_BITS) >> exponent)
        mantissa = delayed(m, Array(RECIPROCAL_TABLE.tolist())[index], deep)
        scale = delayed(m, exponent, 1 + deep)
        which, valid = (delayed(m, s, self.latency - 1) for s in (self.head, self.valid))
        for head in range(self._machine.heads):
            with m.If(valid & (which == head)):
                m.d.sync += [
                    self.reciprocals[head].mantissa.eq(mantissa),
                    self.reciprocals[head].exponent.eq(scale),
                ]
        return m
