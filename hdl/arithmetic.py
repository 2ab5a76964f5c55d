"""Integer expressions, equal to :mod:`gptloom.model.arithmetic`."""

from amaranth.hdl import Const, Module, Mux, Signal, Value, ValueLike, signed
from amaranth.utils import exact_log2


def saturated(value: ValueLike, bits: int) -> Value:
    """Clip a signed value to `bits` bits; see :func:`gptloom.model.arithmetic.saturate`."""
    value = Value.cast(value)
    if len(value) <= bits:
        return value
    inside = value[bits - 1 :]
    fits = (inside == 0) | inside.all()
    limit = (1 << (bits - 1)) - 1
    # The sign selects 0111... or 1000...
    clipped = (Value.cast(limit) ^ value[-1].replicate(bits)).as_signed()
    return Mux(fits, value[:bits].as_signed(), clipped).as_signed()


def rounded(value: ValueLike, shift: int) -> Value:
    """Shift a signed value right, half up; see :func:`gptloom.model.arithmetic.round_shift`."""
    value = Value.cast(value)
    return (value + (1 << shift - 1)) >> shift if shift else value


def narrowed(value: ValueLike, bits: int) -> Value:
    """Return the low `bits` bits as a signed number."""
    return Value.cast(value)[:bits].as_signed()


def signed_signal(bits: int, **kwargs) -> Signal:
    """Return a signed signal of `bits` bits."""
    return Signal(signed(bits), **kwargs)


def leading_one(m: Module, value: Value) -> Signal:
    """Return the position of the most significant one of an unsigned value; 0 if there is none."""
    position = Signal(range(len(value)), name="leading_one")
    for i in range(len(value)):
        with m.If(value[i]):
            m.d.comb += position.eq(i)
    return position


def less(one: ValueLike, other: ValueLike) -> Value:
    """Return whether one value is less than another: the sign of their difference.

    Amaranth's ``<`` means the same, but becomes a tree of lookup tables; this is a carry chain.
    """
    return (Value.cast(one) - Value.cast(other))[-1]


def quotient(value: Value, divisor: int) -> Value:
    """Return an unsigned value divided by a power of two: its upper bits.

    Amaranth's ``//`` means the same, but compiled simulation then does a full division, bit by bit.
    """
    bits = exact_log2(divisor)
    return value[bits:] if bits < len(value) else Const(0, 1)


def remainder(value: Value, divisor: int) -> Value:
    """Return the remainder of such a division: the value's lower bits."""
    bits = exact_log2(divisor)
    return value[:bits] if bits else Const(0, 1)
