"""Multipliers made of carry cells only."""

from amaranth.hdl import Cat, Const, Module, Signal, signed

from gptloom.hdl.attributes import LOADED
from gptloom.hdl.multipliers import Multiplier
from gptloom.hdl.unrolled.fabric import Ecp5Fabric, Fabric


class ArrayMultiplier(Multiplier):
    """Adds up products of one factor and two bits of the shorter one, each a carry chain.

    For 8-bit factors that is four chains of 10 bits, then two of 10 and one of 12: about 86 lookup
    tables.
    """

    fabric: type[Fabric] = Ecp5Fabric

    def elaborate(self, platform):
        """Return the hardware."""
        m = Module()
        fabric = self.fabric(m)
        # The fewer digits, the fewer chains.
        a, b = (self.a, self.b) if len(self.a) <= len(self.b) else (self.b, self.a)
        if not b.shape().signed:
            b = Cat(b, Const(0, 1)).as_signed()
        bits, parts = list(a), []
        if len(bits) % 2:
            bits.append(bits[-1] if a.shape().signed else Const(0, 1))
        for i in range(0, len(bits), 2):
            negative = a.shape().signed and i + 2 == len(bits)
            product = fabric.digit(b, bits[i], bits[i + 1], negative=negative)
            register = Signal(signed(len(product)), name=f"digit_{i}", **LOADED)
            m.d.sync += register.eq(product)
            parts.append(register)
        digits = 1
        while len(parts) > 1:
            joined = []
            for low, high in zip(parts[::2], parts[1::2], strict=False):
                shape = signed(len(high) + 2 * digits)
                joined.append(fabric.add(low, high, shape, (0, 2 * digits)))
            parts, digits = joined + parts[len(parts) & ~1 :], 2 * digits
        m.d.sync += self.o.eq(parts[0])
        return m
