"""RMSNorm's scalar, from the residual stream as it is written."""

from amaranth.hdl import Array, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gptloom.firmware.isa import Destination
from gptloom.firmware.machine import Machine
from gptloom.hdl.arithmetic import leading_one, narrowed
from gptloom.hdl.folded.layouts import Scale, results
from gptloom.hdl.multipliers import pairs
from gptloom.model.arithmetic import ACTIVATION_BITS
from gptloom.model.tables import RSQRT_TABLE, RSQRT_WINDOW_BITS


class Norm(wiring.Component):
    """One over the root of the sum of squares; equals :func:`gptloom.model.tables.rsqrt`.

    Attributes
    ----------
    latency
        From the last element of the stream in `result` to its `norm`: 6 cycles.
    result : In
        Write-back's results; those for the residual stream count.
    norm : Out
        Scale of the latest whole stream.
    """

    latency = 6

    def __init__(self, machine: Machine):
        self._machine = machine
        super().__init__({"result": In(results(machine)), "norm": Out(Scale)})

    def elaborate(self, platform):
        m = Module()
        result = self.result
        bits = 2 * ACTIVATION_BITS - 1

        taken = result.enable.any() & (result.destination == Destination.STREAM)
        squares = []
        for i, value in enumerate(result["values"]):
            element = Signal(signed(ACTIVATION_BITS), name=f"element_{i}")
            m.d.comb += element.eq(narrowed(value, ACTIVATION_BITS))
            low, middle, high = (
                part.registered(m, clear=~result.enable[i]) for part in pairs(m, element, element)
            )
            squares.append(low.join(middle).join(high).total[:bits])
        beat = Signal(bits + len(squares).bit_length())
        m.d.sync += beat.eq(sum(squares))

        valid, first, last = self._flags(m, taken)
        total = Signal(bits + (self._machine.stream_elements - 1).bit_length())
        with m.If(valid):
            m.d.sync += total.eq(Mux(first, 0, total) + beat)

        complete = Signal()
        m.d.sync += complete.eq(valid & last)
        half = Signal(range(len(total)))
        window_of = Signal.like(total)
        known = Signal()
        m.d.sync += [half.eq(leading_one(m, total) >> 1), window_of.eq(total), known.eq(complete)]

        window = Signal(RSQRT_WINDOW_BITS)
        exponent = Signal.like(half)
        indexed = Signal()
        m.d.sync += [
            window.eq((window_of << (RSQRT_WINDOW_BITS - 2)) >> (half << 1)),
            exponent.eq(half),
            indexed.eq(known),
        ]
        with m.If(indexed):
            m.d.sync += [
                self.norm.mantissa.eq(Array(RSQRT_TABLE.tolist())[window]),
                self.norm.exponent.eq(exponent),
            ]
        return m

    def _flags(self, m: Module, taken) -> list[Signal]:
        """Return valid, first and last of a beat, as long delayed as its sum of squares."""
        flags = []
        for signal in (taken, self.result.index == 0, self.result.last):
            for _ in range(2):
                following = Signal()
                m.d.sync += following.eq(signal)
                signal = following
            flags.append(signal)
        return flags
