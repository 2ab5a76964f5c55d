"""Plans of constant products: a graph of sums, with the exact range of each.

A plan is made once, in Python, from the matrix; :mod:`.network` turns it into hardware.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from amaranth.hdl import Shape, signed, unsigned

Form = np.ndarray
"""Coefficients of all slice bits in a value: int64 [inputs * bits_per_cycle], the bits of an input
side by side, lowest first."""


def width_of(low: int, high: int) -> Shape:
    """Return the narrowest shape for all numbers from `low` to `high`."""
    if low < 0:
        return signed(max((~low).bit_length(), max(high, 0).bit_length()) + 1)
    return unsigned(high.bit_length())


def chain_cells(bits: int) -> int:
    """Return the lookup tables of a carry chain: one per bit, one to set the carry, in pairs."""
    return bits + 1 + (bits + 1) % 2


class Node:
    """A constant plus a coefficient times each slice bit.

    Attributes
    ----------
    offset
        The constant.
    form
        The coefficients.
    level
        Depth from the slices to here: tables and adders in series.
    operands
        Nodes it is computed from.
    """

    offset: int
    form: Form
    level: int
    operands: tuple[Node, ...] = ()

    @cached_property
    def low(self) -> int:
        """Least value, which does occur: bits are independent."""
        return self.offset + int(np.minimum(self.form, 0).sum())

    @cached_property
    def high(self) -> int:
        """Greatest value."""
        return self.offset + int(np.maximum(self.form, 0).sum())

    @property
    def shape(self) -> Shape:
        """Narrowest shape that holds the value."""
        return width_of(self.low, self.high)


class Slice(Node):
    """The slice of one input, unchanged.

    Attributes
    ----------
    index
        Number of the input.
    """

    def __init__(self, index: int, form: Form):
        self.index, self.form, self.offset, self.level = index, form, 0, 0


@dataclass(frozen=True)
class Term:
    """A slice bit times a constant.

    Attributes
    ----------
    bit
        Position in a form.
    coefficient
        Weight of the bit.
    inverted
        The term is of the bit's complement.
    """

    bit: int
    coefficient: int
    inverted: bool = False

    def flipped(self) -> Term:
        """Return the complement's term, which differs by a constant: this term's coefficient."""
        return Term(self.bit, -self.coefficient, not self.inverted)


class Table(Node):
    """A constant plus some terms, looked up.

    Attributes
    ----------
    terms
        Four at most, or three in a table that a sum looks up by itself.
    constant
        Constant added to the terms.
    """

    def __init__(self, terms: tuple[Term, ...], size: int, constant: int = 0):
        self.terms, self.constant, self.level = terms, constant, 1
        self.form = np.zeros(size, np.int64)
        self.offset = constant
        for term in terms:
            sign = -1 if term.inverted else 1
            self.form[term.bit] += sign * term.coefficient
            self.offset += term.coefficient if term.inverted else 0

    @property
    def entries(self) -> list[int]:
        """Values by the terms' bits, the first term's lowest."""
        entries = [self.constant]
        for term in self.terms:
            entries += [entry + term.coefficient for entry in entries]
        return entries


class Sum(Node):
    """Sum or difference of two values, each shifted left.

    Attributes
    ----------
    left, right
        The operands.
    left_shift, right_shift
        Places to shift each operand left.
    negative
        The right operand is subtracted.
    absorbed
        `right` is a table that the carry chain looks up by itself.
    """

    def __init__(
        self,
        left: Node,
        right: Node,
        left_shift: int = 0,
        right_shift: int = 0,
        *,
        negative: bool = False,
        absorbed: bool = False,
    ):
        self.left, self.right = left, right
        self.left_shift, self.right_shift = left_shift, right_shift
        self.negative, self.absorbed = negative, absorbed
        sign = -1 if negative else 1
        self.form = (left.form << left_shift) + sign * (right.form << right_shift)
        self.offset = (left.offset << left_shift) + sign * (right.offset << right_shift)
        self.operands = (left,) if absorbed else (left, right)
        self.level = 1 + max(operand.level for operand in self.operands)

    @property
    def passed(self) -> int:
        """Number of low bits of the result that come from one operand only, without addition."""
        if self.negative or self.right_shift:
            return self.right_shift
        return self.left_shift

    @property
    def cells(self) -> int:
        """Lookup tables of the carry chain."""
        return chain_cells(self.shape.width - self.passed)


class Shifted(Node):
    """A value times a power of two: wires only.

    Attributes
    ----------
    operand
        The value.
    shift
        Places to shift left.
    """

    def __init__(self, operand: Node, shift: int):
        self.operand, self.shift = operand, shift
        self.form, self.offset = operand.form << shift, operand.offset << shift
        self.operands, self.level = (operand,), operand.level


def nodes_of(roots: list[Node | None]) -> list[Node]:
    """Return all nodes that the roots are computed from, operands first, each once."""
    found: dict[int, Node] = {}
    # An explicit stack: chains are longer than Python's recursion limit.
    stack = [(root, False) for root in reversed(roots) if root is not None]
    while stack:
        node, ready = stack.pop()
        if id(node) in found:
            continue
        if ready:
            found[id(node)] = node
            continue
        stack.append((node, True))
        stack += [(operand, False) for operand in reversed(node.operands)]
    return list(found.values())


def cells_of(roots: list[Node | None]) -> int:
    """Return the approximate number of lookup tables a plan takes on an ECP5."""
    cells = 0
    for node in nodes_of(roots):
        if isinstance(node, Sum):
            cells += node.cells
        elif isinstance(node, Table):
            cells += node.shape.width
    return cells
