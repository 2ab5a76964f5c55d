"""Sums and maxima of many values, some of them per cycle."""

from collections.abc import Callable, Sequence

from amaranth.hdl import Module, Mux, Signal, Value

from gptloom.hdl.arithmetic import less
from gptloom.hdl.attributes import LOADED

FAN_IN = 4
"""Values reduced to one within a cycle: two levels, which is what a cycle has time for."""

Operation = Callable[[Value, Value], Value]


def larger(one: Value, other: Value) -> Value:
    """Return the larger one of two signed values."""
    return Mux(less(one, other), other, one)


def added(one: Value, other: Value) -> Value:
    """Return the sum of two values."""
    return one + other


def reduced(values: Sequence[Value], operation: Operation) -> Value:
    """Return the result of an operation over many values, as a tree within this cycle."""
    values = list(values)
    while len(values) > 1:
        pairs = zip(values[::2], values[1::2], strict=False)
        values = [operation(*pair) for pair in pairs] + values[len(values) & ~1 :]
    return values[0]


def cycles(count: int, beats: int) -> int:
    """Return the cycles that :func:`over_beats` takes, its result register included.

    Parameters
    ----------
    count
        Values in each cycle.
    beats
        Cycles whose values are reduced together.
    """
    total, last = 1, FAN_IN if beats == 1 else FAN_IN // 2
    while count > last:
        count = -(-count // FAN_IN) if count > FAN_IN else last
        total += 1
    return total


def over_beats(
    m: Module, values: Sequence[Value], operation: Operation, first: Value | None, shape
) -> Signal:
    """Return the register with the result of an operation over all values since `first`.

    Parameters
    ----------
    m
        Module to add the hardware to.
    values
        Values of this cycle.
    operation
        Associative and commutative.
    first
        Set for the first values of a group, delayed by the number of registers that this function
        has before the last one; None if every cycle is a group of its own.
    shape
        Shape of the result.
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
