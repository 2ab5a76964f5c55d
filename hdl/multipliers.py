"""Multipliers: one behaviour, and what each family of parts has for it."""

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gptloom.model.arithmetic import ACTIVATION_BITS, WEIGHT_BITS

PRODUCT_BITS = ACTIVATION_BITS + WEIGHT_BITS


class Multiplier(wiring.Component):
    """Signed product of an activation and a weight, as simulation computes it.

    Subclasses are the same in hardware.

    Attributes
    ----------
    latency
        2 cycles, a new pair every cycle.
    a : In
        Activation.
    b : In
        Weight.
    o : Out
        Their product, exact.
    """

    latency = 2

    def __init__(self):
        super().__init__(
            {
                "a": In(signed(ACTIVATION_BITS)),
                "b": In(signed(WEIGHT_BITS)),
                "o": Out(signed(PRODUCT_BITS)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        product = Signal.like(self.o)
        m.d.sync += [product.eq(self.a * self.b), self.o.eq(product)]
        return m


class FabricMultiplier(Multiplier):
    """In four-input lookup tables and carry chains: about 120 of them.

    The weight becomes four digits of base 4: -1, 0, 1 or 2, the top one -2 to 2. A bit of
    ``digit * a`` then depends on two bits of `a` and two of the digit, which is one table, where
    an adder for every bit of the weight would need twice as many.
    """

    def elaborate(self, platform):
        m = Module()
        rows, negations = [], []
        carry = Const(0, 1)
        for number in range(WEIGHT_BITS // 2 - 1):
            pair = self.b[2 * number : 2 * number + 2]
            # 3 is 4 - 1, and 4 is 4 - 0: the next digit takes the 4.
            digit = Signal(2, name=f"digit_{number}")
            carried = Signal(name=f"carry_{number}")
            m.d.comb += [digit.eq(pair + carry), carried.eq(pair[1] & (pair[0] | carry))]
            row = Signal(signed(ACTIVATION_BITS + 1), name=f"row_{number}")
            with m.Switch(digit):
                with m.Case(1):
                    m.d.comb += row.eq(self.a)
                with m.Case(2):
                    m.d.comb += row.eq(self.a << 1)
                with m.Case(3):
                    m.d.comb += row.eq(~self.a)
            rows.append(row)
            negations.append(digit.all())
            carry = carried
        top = self.b[-2:]
        once, twice, negative = (Signal(name=n) for n in ("once", "twice", "negative"))
        magnitude = Signal(signed(ACTIVATION_BITS + 1))
        m.d.comb += [
            once.eq(top[0] ^ carry),
            twice.eq(Mux(top[1], ~(top[0] | carry), top[0] & carry)),
            negative.eq(top[1] & ~(top[0] & carry)),
            magnitude.eq(Mux(twice, self.a << 1, Mux(once, self.a, 0))),
        ]
        rows.append((magnitude ^ negative.replicate(len(magnitude)).as_signed()).as_signed())
        negations.append(negative)

        # A negated row lacks one; most of these ones fit where a shifted row leaves room.
        low, high = (Signal(signed(ACTIVATION_BITS + 4), name=name) for name in ("low", "high"))
        ones = [Signal(name=f"one_{number}") for number in (1, 3)]
        m.d.sync += [
            low.eq(rows[0] + Cat(negations[0], Const(0, 1), rows[1]).as_signed()),
            high.eq(rows[2] + Cat(negations[2], Const(0, 1), rows[3]).as_signed()),
            ones[0].eq(negations[1]),
            ones[1].eq(negations[3]),
        ]
        upper = high + Cat(Const(0, 2), ones[1], Const(0, 1)).as_signed()
        m.d.sync += self.o.eq(low + Cat(Const(0, 2), ones[0], Const(0, 1), upper).as_signed())
        return m


class Mult18Multiplier(Multiplier):
    """In a MULT18X18D of an ECP5, with its input and output registers."""

    def elaborate(self, platform):
        m = Module()
        width = 18
        a, b = self._left(self.a, width), self._left(self.b, width)
        p = Signal(2 * width)
        registers = {
            f"p_REG_{name}_{pin}": f"{pin}0"
            for name in ("INPUTA", "INPUTB", "OUTPUT")
            for pin in ("CLK", "CE", "RST")
        }
        m.submodules.dsp = Instance(
            "MULT18X18D",
            **registers,
            p_REG_PIPELINE_CLK="NONE",
            i_CLK0=ClockSignal(),
            i_CE0=Const(1),
            i_RST0=Const(0),
            i_SIGNEDA=Const(1),
            i_SIGNEDB=Const(1),
            i_SOURCEA=Const(0),
            i_SOURCEB=Const(0),
            **{f"i_A{i}": a[i] for i in range(width)},
            **{f"i_B{i}": b[i] for i in range(width)},
            **{f"o_P{i}": p[i] for i in range(2 * width)},
        )
        m.d.comb += self.o.eq(p[-PRODUCT_BITS:])
        return m

    @staticmethod
    def _left(value, width: int):
        """Zeros below cost less routing than copies of the sign above."""
        return Cat(Const(0, width - len(value)), value)


class Mac16Multiplier(Multiplier):
    """In an SB_MAC16 of an iCE40 UltraPlus: its input registers, then one in fabric.

    The cell's own output register would do as well, but nextpnr does not time what follows it.
    """

    def elaborate(self, platform):
        m = Module()
        width = 16
        product = Signal(signed(2 * width))
        m.submodules.dsp = Instance(
            "SB_MAC16",
            p_A_REG=Const(1),
            p_B_REG=Const(1),
            p_A_SIGNED=Const(1),
            p_B_SIGNED=Const(1),
            p_TOPOUTPUT_SELECT=Const(3, 2),
            p_BOTOUTPUT_SELECT=Const(3, 2),
            i_CLK=ClockSignal(),
            i_CE=Const(1),
            i_A=Cat(self.a, self.a[-1].replicate(width - len(self.a))),
            i_B=Cat(self.b, self.b[-1].replicate(width - len(self.b))),
            i_AHOLD=Const(0),
            i_BHOLD=Const(0),
            o_O=product,
        )
        m.d.sync += self.o.eq(product)
        return m
