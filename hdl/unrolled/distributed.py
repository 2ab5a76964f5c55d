"""Plans for distributed arithmetic: tables of partial sums, added up.

A row's bits are divided among leaves. A leaf begins with a table of four bits, which takes as many
lookup tables as its value has bits; further bits are looked up by the carry chains that add them,
three in each. The leaves are added in a tree.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

from gptloom.hdl.unrolled.chains import ABSORBED, absorbs
from gptloom.hdl.unrolled.plan import Node, Shifted, Sum, Table, Term

TABLE = 4
"""Address bits of a table."""

_TRIES, _MOST_TRIES = 24, 96
"""Orders of a leaf's bits to try; more if all of these need more chains than necessary."""

_FLIPS = sorted(np.ndindex(2, 2, 2), key=sum)
"""Choices of inverted bits among three, fewest first."""


def plan_row(form: np.ndarray, offset: int, chain: int, slice_bits: int) -> Node | None:
    """Return the plan of one output; None if the output is always zero.

    Parameters
    ----------
    form
        Coefficients of the output.
    offset
        Constant of the output.
    chain
        Carry chains in series in a leaf.
    slice_bits
        Bits in a slice.
    """
    bits = np.flatnonzero(form)
    if not len(bits):
        return Table((), len(form), offset) if offset else None
    ordered = _ordered(bits.tolist(), form, slice_bits)
    leaves = -(-len(bits) // (TABLE + ABSORBED * chain))
    parts = [list(part) for part in np.array_split(ordered, leaves)]
    # Only the first leaf has the offset: the others may have trailing zeros.
    nodes = [_leaf(part, form, 0 if i else offset) for i, part in enumerate(parts)]
    while len(nodes) > 1:
        pairs = zip(nodes[::2], nodes[1::2], strict=False)
        nodes = [_join(*pair) for pair in pairs] + nodes[len(nodes) & ~1 :]
    node, shift = nodes[0]
    return Shifted(node, shift) if shift else node


def _ordered(bits: list[int], form: np.ndarray, slice_bits: int) -> list[int]:
    """Return bits in the order in which leaves take them.

    A leaf with higher bits only has trailing zeros, and one with small weights is narrow. Each gets
    its share of odd weights, since a carry chain cannot look up three of them.
    """
    places = {}
    for position in range(slice_bits):
        for odd in (0, 1):
            alike = [
                bit
                for bit in bits
                if bit % slice_bits == position and form[bit] >> position & 1 == odd
            ]
            alike.sort(key=lambda bit: abs(form[bit]))
            places |= {bit: (position, i / len(alike)) for i, bit in enumerate(alike)}
    return sorted(bits, key=places.__getitem__)


def _zeros(number: int) -> int:
    number = int(number)
    return (number & -number).bit_length() - 1 if number else 0


def _join(one: tuple[Node, int], other: tuple[Node, int]) -> tuple[Node, int]:
    (left, left_shift), (right, right_shift) = one, other
    shift = min(left_shift, right_shift)
    return Sum(left, right, left_shift - shift, right_shift - shift), shift


def _leaf(bits: list[int], form: np.ndarray, offset: int) -> tuple[Node, int]:
    """Return the cheapest sum found, and its shift."""
    shift = min(_zeros(number) for number in [*form[bits], *([offset] if offset else [])])
    terms = [Term(int(bit), int(form[bit]) >> shift) for bit in bits]
    draw = np.random.default_rng(len(bits))
    best, least = None, None
    shallowest = 1 + max(0, -(-(len(bits) - TABLE) // ABSORBED))
    for attempt in range(_MOST_TRIES):
        if attempt >= _TRIES and least[0] <= shallowest:
            break
        order = terms
        if attempt:
            # Sometimes let the table take the odd coefficients.
            odd = draw.choice([1, 0.3, 0.1])
            keys = [
                abs(t.coefficient) * draw.uniform(0.5, 2) * (odd if t.coefficient & 1 else 1)
                for t in terms
            ]
            order = [terms[i] for i in np.argsort(keys)]
        node = _chain(order, offset >> shift, len(form))
        cells = _cost(node)
        if least is None or cells < least:
            best, least = node, cells
    return best, shift


def _cost(node: Node) -> tuple[int, int]:
    cells = 0
    level = node.level
    while isinstance(node, Sum):
        cells += node.cells
        node = node.left
    return level, cells + node.shape.width


def _chain(terms: list[Term], offset: int, size: int) -> Node:
    """Add terms in the given order, as far as carry chains can look them up."""
    first, rest = terms[:TABLE], terms[TABLE:]
    groups: list[tuple[Term, ...]] = []
    while rest:
        group, rest = _group(rest)
        groups.append(group)
    flips = sum(-t.coefficient for group in groups for t in group if t.inverted)
    node: Node = Table(tuple(first), size, offset + flips)
    for group in groups:
        shift = min(_zeros(term.coefficient) for term in group)
        scaled = tuple(Term(t.bit, t.coefficient >> shift, t.inverted) for t in group)
        node = Sum(node, Table(scaled, size), 0, shift, absorbed=True)
    return node


def _group(terms: list[Term]) -> tuple[tuple[Term, ...], list[Term]]:
    """Return terms that a carry chain can look up, the first one among them, and the rest.

    A chain that cannot take the first three may still take others: three odd coefficients never fit
    together, because the lowest bit of their sum is a parity.
    """
    if len(terms) < ABSORBED:
        return tuple(terms), []
    first, others = terms[0], terms[1:]
    bits = max(abs(term.coefficient) for term in terms).bit_length() + ABSORBED
    for pair in combinations(range(len(others)), ABSORBED - 1):
        three = (first, *(others[i] for i in pair))
        for flips in _FLIPS:
            turned = tuple(t.flipped() if f else t for t, f in zip(three, flips, strict=True))
            if absorbs(tuple(t.coefficient for t in turned), bits):
                return turned, [term for i, term in enumerate(others) if i not in pair]
    return (first, others[0]), others[1:]
