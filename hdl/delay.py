"""Values of some cycles ago."""

from amaranth.hdl import Module, Signal, ValueLike


def delayed(m: Module, value: ValueLike, cycles: int = 1) -> ValueLike:
    """Return a value as it was so many cycles ago; the value itself for 0.

    Parameters
    ----------
    m
        Gets the registers.
    value
        Of any shape, which the result has too.
    cycles
        Registers in a row.
    """
    for _ in range(cycles):
        following = Signal.like(value, name="delayed")
        m.d.sync += following.eq(value)
        value = following
    return value
