"""Multipliers: one behaviour, and an implementation for each family of parts."""

from dataclasses import dataclass

from amaranth.hdl import (
    Cat,
    ClockSignal,
    Const,
    Instance,
    Module,
    Mux,
    Shape,
    Signal,
    Value,
    ValueLike,
    signed,
    unsigned,
)
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from gptloom.firmware.machine import LANE_BITS
from gptloom.hdl.attributes import KEEP
from gptloom.hdl.delay import delayed
from gptloom.model.arithmetic import ACTIVATION_BITS

ACTIVATION, OPERAND = signed(ACTIVATION_BITS), signed(LANE_BITS)
PRODUCT_BITS = ACTIVATION_BITS + LANE_BITS


class Multiplier(wiring.Component):
    """Product of an activation and a weight, in a form for simulation.

    Subclasses are hardware with the same behaviour.

    Parameters
    ----------
    a, b
        Shapes of the factors; `b` is signed.

    Attributes
    ----------
    latency
        Cycles from factors to product, 2; takes a new pair every cycle.
    a : In
        Activation.
    b : In
        Weight.
    o : Out
        Their product, exact.
    """

    latency = 2

    def __init__(self, a: Shape = ACTIVATION, b: Shape = OPERAND):
        super().__init__({"a": In(a), "b": In(b), "o": Out(signed(a.width + b.width))})

    def elaborate(self, platform):
        m = Module()
        product = Signal.like(self.o)
        m.d.sync += [product.eq(self.a * self.b), self.o.eq(product)]
        return m


class Digit(data.Struct):
    """A digit of base 4: its `code` is 0, 1, 2, or 3 for -1; `negate` changes the sign."""

    code: unsigned(2)
    negate: unsigned(1)


def recoded(m: Module, value: Value) -> list[Digit]:
    """Return the digits of a signed value, lowest first.

    They are -1, 0, 1 or 2, the top one -2 to 2: only that one uses `negate`. A bit of ``digit * a``
    then depends on two bits of `a` and two of the digit, which is one lookup table of four inputs;
    an adder for every bit of the value would need twice as many.
    """
    if len(value) % 2:
        value = Cat(value, value[-1])
    digits = [Signal(Digit, name=f"digit_{i}") for i in range(len(value) // 2)]
    carry = Const(0, 1)
    for i, digit in enumerate(digits[:-1]):
        low, high = value[2 * i], value[2 * i + 1]
        # 3 is 4 - 1, and 4 is 4 - 0: the 4 carries into the next digit.
        carried = Signal(name=f"carry_{i}")
        m.d.comb += [digit.code.eq(Cat(low, high) + carry), carried.eq(high & (low | carry))]
        carry = carried
    low, high = value[-2], value[-1]
    m.d.comb += [
        digits[-1].code.eq(Cat(low ^ carry, Mux(high, ~(low | carry), low & carry))),
        digits[-1].negate.eq(high & ~(low & carry)),
    ]
    return digits


@dataclass(frozen=True)
class Partial:
    """Part of a product: `value`, plus `one` with the weight of the last of its `digits`."""

    value: Value
    one: Value
    digits: int = 1

    @classmethod
    def of(cls, m: Module, a: Value, digit: Digit) -> "Partial":
        """Return ``digit * a``; its `one` completes a two's complement."""
        row = Signal(signed(len(a) + 1))
        with m.Switch(digit.code):
            with m.Case(1):
                m.d.comb += row.eq(a)
            with m.Case(2):
                m.d.comb += row.eq(a << 1)
            with m.Case(3):
                m.d.comb += row.eq(~a)
        value = (row ^ digit.negate.replicate(len(row)).as_signed()).as_signed()
        return cls(value, digit.code.all() | digit.negate)

    def join(self, m: Module, higher: "Partial") -> "Partial":
        """Return the sum with the next digits' part, whose free low bits hold this part's `one`."""
        room = Cat(Const(0, 2 * self.digits - 2), self.one, Const(0, 1))
        added = self.value + Cat(room, higher.value).as_signed()
        value = Signal(added.shape(), attrs=KEEP)
        m.d.comb += value.eq(added)
        return Partial(value, higher.one, self.digits + higher.digits)

    def registered(self, m: Module, clear: ValueLike = 0) -> "Partial":
        """Return the same one cycle later, or zero if `clear`."""
        value, one = Signal(signed(len(self.value))), Signal()
        m.d.sync += [value.eq(self.value), one.eq(self.one)]
        with m.If(clear):
            m.d.sync += [value.eq(0), one.eq(0)]
        return Partial(value, one, self.digits)

    @property
    def total(self) -> Value:
        """Sum of value and `one`."""
        return self.value + Cat(Const(0, 2 * self.digits - 2), self.one, Const(0, 1)).as_signed()


def pairs(m: Module, a: Value, b: Value, deep: bool = False) -> list[Partial]:
    """Return the parts, two digits each but perhaps the last, of a product of signed values.

    They take half of the product's delay, so that registers can be put between parts and sum. With
    `deep` the digits take a cycle of their own.
    """
    a = delayed(m, a, deep)
    parts = [Partial.of(m, a, delayed(m, digit, deep)) for digit in recoded(m, b)]
    joined = [low.join(m, high) for low, high in zip(parts[::2], parts[1::2], strict=False)]
    return joined + parts[len(parts) & ~1 :]


class FabricMultiplier(Multiplier):
    """Multiplier in four-input lookup tables and carry chains: about 140 lookup tables."""

    def elaborate(self, platform):
        """Return the hardware."""
        m = Module()
        *lower, highest = (part.registered(m) for part in pairs(m, self.a, self.b))
        whole = Partial(highest.total, Const(0, 1), highest.digits)
        for part in reversed(lower):
            whole = part.join(m, whole)
        m.d.sync += self.o.eq(whole.value)
        return m


class Mult18Multiplier(Multiplier):
    """Multiplier in a MULT18X18D of an ECP5, with its input and output registers."""

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
        bits = self._factor_bits(self.a) + self._factor_bits(self.b)
        m.d.comb += self.o.eq(p[-bits:])
        return m

    @staticmethod
    def _factor_bits(value) -> int:
        return len(value) + (not value.shape().signed)

    @classmethod
    def _left(cls, value, width: int):
        """Return the value aligned left: zeros below cost less routing than sign bits above."""
        bits = cls._factor_bits(value)
        return Cat(Const(0, width - bits), value, Const(0, bits - len(value)))


class Mac16Multiplier(Multiplier):
    """Multiplier in an SB_MAC16 of an iCE40 UltraPlus: its input registers, then one in fabric.

    The cell's own output register would do as well, but nextpnr does not time the paths after it.
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
