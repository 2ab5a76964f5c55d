"""Sums and maxima of many values, some of them in each cycle."""

from collections.abc import Callable, Sequence

from amaranth.hdl import Module, Mux, Signal, Value

from gptloom.hdl.arithmetic import less
from gptloom.hdl.attributes import LOADED

FAN_IN = 4
"""Values that become one within a cycle: two levels, as a cycle has room for."""

Operation = Callable[[Value, Value], Value]


def larger(one: Value, other: Value) -> Value:
    """Return the larger one of two signed values."""
    return Mux(less(one, other), other, one)


def added(one: Value, other: Value) -> Value:
    """Return their sum."""
    return one + other


def reduced(values: Sequence[Value], operation: Operation) -> Value:
    """Return what becomes of many values, as a tree within this cycle."""
    values = list(values)
    while len(values) > 1:
        pairs = zip(values[::2], values[1::2], strict=False)
        values = [operation(*pair) for pair in pairs] + values[len(values) & ~1 :]
    return values[0]


def cycles(count: int, beats: int) -> int:
    """Return the cycles that :func:`over_beats` takes, the one into its register included.

    Parameters
    ----------
    count
        Values in each cycle.
    beats
        Cycles whose values belong together.
    """
    total, last = 1, FAN_IN if beats == 1 else FAN_IN // 2
    while count > last:
        count = -(-count // FAN_IN) if count > FAN_IN else last
        total += 1
    return total


def over_beats(
    m: Module, values: Sequence[Value], operation: Operation, first: Value | None, shape
) -> Signal:
    """Return the register with what becomes of all values since `first`.

    Parameters
    ----------
    m
        Gets the hardware.
    values
        Of this cycle.
    operation
        Associative and commutative.
    first
        The values are the first ones that belong together, as many cycles later as this function
        has registers before the last one; None if those of a cycle always are alone.
    shape
        Of the result.
    """
    values = list(values)
    last = FAN_IN if first is None else FAN_IN // 2
    while len(values) > last:
        size = FAN_IN if len(values) > FAN_IN else -(-len(values) // last)
        groups = [values[i : i + size] for i in range(0, len(values), size)]
        values = []
        for group in groups:
            value = reduced(group, operation)
            register = Signal.like(value, name="part", **LOADED)
            m.d.sync += register.eq(value)
            values.append(register)
    result = Signal(shape, name="result", **LOADED)
    now = reduced(values, operation)
    if first is None:
        m.d.sync += result.eq(now)
    else:
        m.d.sync += result.eq(Mux(first, now, operation(now, result)))
    return result
