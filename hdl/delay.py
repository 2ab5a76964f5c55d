"""Delayed values."""

from amaranth.hdl import Module, Signal, ValueLike


def delayed(m: Module, value: ValueLike, cycles: int = 1, *, reset_less: bool = False) -> ValueLike:
    """Return a value delayed by a number of cycles; the value itself for 0.

    Parameters
    ----------
    m
        Module to add the registers to.
    value
        Value of any shape, which the result has too.
    cycles
        Registers in a row.
    reset_less
        The registers have no reset.
    """
    for _ in range(cycles):
        following = Signal.like(value, name="delayed", reset_less=reset_less)
        m.d.sync += following.eq(value)
        value = following
    return value


def late(m: Module, value: ValueLike, cycles: int = 1) -> ValueLike:
    """Return a delayed value as :func:`delayed` does, from registers without a reset.

    A pipeline that never stalls needs no reset: values from before a reset leave it before those
    that come after.
    """
    return delayed(m, value, cycles, reset_less=True)
