"""RMSNorm's scalar, from the residual stream as it is written."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gptloom.firmware.machine import Machine
from gptloom.hdl.arithmetic import leading_one, narrowed
from gptloom.hdl.attributes import LOADED
from gptloom.hdl.delay import delayed, late
from gptloom.hdl.folded.layouts import ResultBus, Scale
from gptloom.hdl.multipliers import pairs
from gptloom.model.tables import RSQRT_TABLE, RSQRT_WINDOW_BITS


class Norm(wiring.Component):
    """One over the root of the sum of squares; equals :func:`gptloom.model.tables.rsqrt`.

    Attributes
    ----------
    latency
        From the last element of the stream in `i` to its `norm`: 6 cycles, 7 where the squares of
        several elements are put together from parts, 11 in a deep machine.
    i : In
        Write-back's results; those for the residual stream count.
    norm : Out
        Scale of the latest whole stream.
    """

    def __init__(self, machine: Machine):
        # The sum of several squares takes a cycle of its own, where they come from parts.
        self._several = int(machine.writers > 1 and not machine.gated)
        self.latency = 6 + self._several + 5 * machine.deep
        self._machine = machine
        super().__init__({"i": In(ResultBus(machine)), "norm": Out(Scale)})

    def elaborate(self, platform):
        m = Module()
        result, deep = self.i.beat, self._machine.deep
        width = self._machine.precision.stream
        bits = 2 * width - 1

        taken = result.enable.any() & result.to.norm
        squares = []
        for i, value in enumerate(result["values"]):
            element = Signal(signed(width), name=f"element_{i}")
            m.d.comb += element.eq(narrowed(value, width))
            if self._machine.gated:
                # Parts that have such machines have multipliers for it.
                factor = Mux(result.enable[i], element, 0)
                squares.append(late(m, factor * factor)[:bits])
                continue
            clear = late(m, ~result.enable[i], deep)
            low, middle, high = (
                part.registered(m, clear) for part in pairs(m, element, element, deep)
            )
            lower = low.join(m, middle)
            if deep:
                lower, high = lower.registered(m), high.registered(m)
            square = lower.join(m, high)
            if deep or self._several:
                square = square.registered(m)
            squares.append(square.total[:bits])
        beat = Signal(bits + len(squares).bit_length(), **LOADED)
        m.d.sync += beat.eq(sum(squares))

        valid, first, last = self._flags(m, taken)
        total = Signal(bits + (self._machine.stream_elements - 1).bit_length(), **LOADED)
        with m.If(valid):
            m.d.sync += total.eq(Mux(first, beat, total + beat))

        # Half of the leading one's position is that of the first pair of bits with a one.
        heads = late(m, Cat(total[i : i + 2].any() for i in range(0, len(total), 2)), deep)
        half = late(m, leading_one(m, heads))
        window_of = late(m, total, 1 + deep)
        known = delayed(m, valid & last, 2 + deep)

        window = Signal(RSQRT_WINDOW_BITS, **LOADED)
        exponent = Signal.like(half)
        indexed = Signal()
        m.d.sync += [
            window.eq((window_of << (RSQRT_WINDOW_BITS - 2)) >> (half << 1)),
            exponent.eq(half),
            indexed.eq(known),
        ]
        # Both halves of the table are looked at, the window's first bit picks one.
        halves = [
            late(m, Array(half)[window[:-1]], deep) for half in RSQRT_TABLE.reshape(2, -1).tolist()
        ]
        upper, scale, ready = (delayed(m, x, deep) for x in (window[-1], exponent, indexed))
        with m.If(ready):
            m.d.sync += [
                self.norm.mantissa.eq(Mux(upper, halves[1], halves[0])),
                self.norm.exponent.eq(scale),
            ]
        return m

    def _flags(self, m: Module, taken) -> list[Signal]:
        """Return valid, first and last of a beat, as long delayed as its sum of squares."""
        cycles = 2 + self._several + 3 * self._machine.deep
        flags = (taken, self.i.beat.index == 0, self.i.beat.last)
        return [delayed(m, flag, cycles) for flag in flags]
