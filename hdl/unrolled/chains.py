"""Truth tables that an ECP5's carry chain can look up by itself.

A carry cell (CCU2C) has a lookup table with four inputs for each of its two bits. The table's
output decides whether the carry propagates; if not, the carry out is a function of inputs A and B
alone, namely the same table's entries for C = D = 0. With a sum's left bit on A, ``A ^ f(B, C, D)``
adds f to it, and the carry out has to be A: so f must be 0 for C = D = 0, whatever B is. Bits may
be connected in any order and inverted, so the task is to find two neighbouring corners of f's cube
where f is 0. A function of two bits needs none: D stays 1, and the entries for D = 0 are free.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import permutations, product

ABSORBED = 3
"""Bits that a carry chain can look up."""


@dataclass(frozen=True)
class Pins:
    """How a function is connected.

    Attributes
    ----------
    order
        Numbers of the bits on B, C and D; fewer if the function depends on fewer.
    inverted
        Flags for the bits that are connected inverted, in the same order.
    init
        Contents of the cell's lookup table.
    """

    order: tuple[int, ...]
    inverted: tuple[bool, ...]
    init: int


def _depends(truth: int, bits: int) -> list[int]:
    return [
        i
        for i in range(bits)
        if any((truth >> k ^ truth >> (k ^ 1 << i)) & 1 for k in range(1 << bits))
    ]


@cache
def connect(truth: int, bits: int) -> Pins | None:
    """Return the connections with which a carry cell adds a function to A; None if it cannot.

    Parameters
    ----------
    truth
        Truth table of the function: bit k is its value where the inputs are the bits of k.
    bits
        Number of its inputs, three at most.
    """
    needed = _depends(truth, bits)
    for order in permutations(needed):
        for inverted in product((False, True), repeat=len(order)):
            init = _init(truth, order, inverted)
            if init is not None:
                return Pins(order, inverted, init)
    return None


def _init(truth: int, order: tuple[int, ...], inverted: tuple[bool, ...]) -> int | None:
    init = 0
    for index in range(16):
        a, pins = index & 1, [index >> 1 + i & 1 for i in range(3)]
        k = sum(
            (pin ^ turned) << bit for pin, bit, turned in zip(pins, order, inverted, strict=False)
        )
        value = a ^ (truth >> k & 1)
        if index < 4:
            # The carry out. Unless all pins are in use, a pin tied to 1 tells the two cases apart.
            if len(order) == 3 and value != a:
                return None
            value = a
        init |= value << index
    return init


@cache
def absorbs(coefficients: tuple[int, ...], bits: int) -> bool:
    """Return whether a carry chain of `bits` bits can add the sum of bits times coefficients."""
    entries = [0]
    for coefficient in coefficients:
        entries += [entry + coefficient for entry in entries]
    return all(
        connect(truth_of(entries, position), len(coefficients)) is not None
        for position in range(bits)
    )


def truth_of(entries: list[int], position: int) -> int:
    """Return the truth table of one bit of a table's entries."""
    return sum((entry >> position & 1) << k for k, entry in enumerate(entries))
