"""Functions and combinations that follow the scale: rotation, SiLU, sums and products."""

from amaranth.hdl import Module, Mux, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from gptloom.firmware.machine import Machine
from gptloom.hdl.arithmetic import rounded, saturated
from gptloom.hdl.delay import late
from gptloom.hdl.folded.layouts import stream_beat
from gptloom.hdl.folded.rotation import Turns
from gptloom.model.arithmetic import (
    GATE_SHIFT,
    LOGIT_BITS,
    ROTARY_FRACTION,
    SILU_BITS,
    SILU_FRACTION,
    SILU_RESULT_BITS,
    SILU_RESULT_FRACTION,
)
from gptloom.model.tables import SILU_INDEX_BITS, SILU_TABLE

Choice = data.StructLayout({"adds": 1, "multiplies": 1, "turns": 1})
"""Function or combination that a result goes through; none is zeros. Gates leave by themselves."""


class Functions(wiring.Component):
    """What becomes of scaled results, by elements or pairs of them.

    Attributes
    ----------
    latency
        From `i` to `o`: 1 cycle.
    i : In
        Results as they leave the scale.
    stream, gates, turns : In
        Elements of the residual stream and of the gates, and the angles of the pairs: those of
        the same results.
    keys : In(1)
        They are keys.
    choice : In
        What is to be done with them, one cycle later.
    embeds, embedding : In
        Elements of an embedding take the place of results for which nothing is to be done.
    o : Out
        Values, as wide as their sites have them.
    gate : Out
        SiLU of `i` two cycles later: its table is in block RAM, which has a register behind it.
    """

    latency = 1

    def __init__(self, machine: Machine):
        self._machine = machine
        values = data.ArrayLayout(signed(LOGIT_BITS), machine.writers)
        super().__init__(
            {
                "i": In(values),
                "stream": In(stream_beat(machine)),
                "gates": In(data.ArrayLayout(signed(SILU_RESULT_BITS), machine.writers)),
                "turns": In(Turns),
                "keys": In(1),
                "choice": In(Choice),
                "embeds": In(1),
                "embedding": In(stream_beat(machine)),
                "o": Out(values),
                "gate": Out(data.ArrayLayout(signed(SILU_RESULT_BITS), machine.writers)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        precision = self._machine.precision
        turned = self._turned(m)
        for i, value in enumerate(self.i):
            plain = late(m, Mux(self.embeds, self.embedding[i], value))
            total = late(m, value + self.stream[i])
            product = late(m, value[: precision.activations].as_signed() * self.gates[i])
            m.d.comb += self.gate[i].eq(self._silu(m, i, value[:SILU_BITS].as_signed()))
            with m.If(self.choice.adds):
                m.d.comb += self.o[i].eq(saturated(total, precision.stream))
            with m.Elif(self.choice.multiplies):
                fits = saturated(rounded(product, GATE_SHIFT), precision.activations)
                m.d.comb += self.o[i].eq(fits)
            with m.Elif(self.choice.turns):
                m.d.comb += self.o[i].eq(turned[i])
            with m.Else():
                m.d.comb += self.o[i].eq(plain)
        return m

    def _turned(self, m: Module) -> list[Value]:
        """Return turned pairs: queries as activations, keys as narrow as the cache has them."""
        precision, found = self._machine.precision, []
        widths = precision.cache.keys.bits, precision.activations
        # What is cut off, and half of it, which is added to a product before it is cut off.
        shifts = [ROTARY_FRACTION + precision.unrotated - width for width in widths]
        half = Mux(self.keys, *(1 << shift - 1 for shift in shifts))
        keys = late(m, self.keys)
        for pair, (even, odd) in enumerate(zip(self.i[::2], self.i[1::2], strict=True)):
            one, other = (value[: precision.unrotated].as_signed() for value in (even, odd))
            cosine, sine = self.turns[pair].cosine, self.turns[pair].sine
            first, second = late(m, one * cosine + half), late(m, other * sine)
            third, fourth = late(m, one * sine + half), late(m, other * cosine)
            for sum_ in (first - second, third + fourth):
                narrow, usual = (
                    saturated(sum_ >> shift, width)
                    for shift, width in zip(shifts, widths, strict=True)
                )
                found.append(Mux(keys, narrow, usual))
        return found

    def _silu(self, m: Module, number: int, argument: Value) -> Value:
        """Return the SiLU of an argument, two cycles later; see :func:`.tables.silu`."""
        m.submodules[f"silu_{number}"] = table = Memory(
            shape=unsigned(int(SILU_TABLE.max()).bit_length()),
            depth=1 << SILU_INDEX_BITS,
            init=SILU_TABLE.tolist(),
        )
        read = table.read_port()
        size = Mux(argument[-1], -argument, argument)[:SILU_BITS]
        index = size[1:]
        far = index[SILU_INDEX_BITS:].any()
        m.d.comb += read.addr.eq(index[:SILU_INDEX_BITS] | far.replicate(SILU_INDEX_BITS))
        linear = Mux(argument[-1], 0, argument) << SILU_RESULT_FRACTION - SILU_FRACTION
        return late(m, linear, 2) - late(m, read.data)
