"""Values of some cycles ago."""

from amaranth.hdl import Module, Signal, ValueLike


def delayed(m: Module, value: ValueLike, cycles: int = 1, *, reset_less: bool = False) -> ValueLike:
    """Return a value as it was so many cycles ago; the value itself for 0.

    Parameters
    ----------
    m
        Gets the registers.
    value
        Of any shape, which the result has too.
    cycles
        Registers in a row.
    reset_less
        A reset does not reach them.
    """
    for _ in range(cycles):
        following = Signal.like(value, name="delayed", reset_less=reset_less)
        m.d.sync += following.eq(value)
        value = following
    return value


def late(m: Module, value: ValueLike, cycles: int = 1) -> ValueLike:
    """Return what :func:`delayed` does, of registers that no reset reaches.

    What travels in a pipeline that is never held needs none: what was there before a reset leaves
    it before what comes after.
    """
    return delayed(m, value, cycles, reset_less=True)
