"""Plans for adder graphs: multiples that several outputs need are computed once.

Weights are written in canonical signed digits, no two neighbours of which are both non-zero. Then
the pair of digits that occurs most often (in any outputs, at any shift) becomes a sum of its own,
again and again until none occurs twice, and the remaining digits of each output are added in a
tree.
"""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass

import numpy as np

from gptloom.hdl.unrolled.plan import Node, Shifted, Slice, Sum, Table


def signed_digits(number: int) -> list[tuple[int, int]]:
    """Return the canonical signed digits of a number: (position, 1 or -1), lowest first."""
    digits, position = [], 0
    while number:
        if number & 1:
            digit = 2 - (number & 3)
            digits.append((position, digit))
            number -= digit
        number >>= 1
        position += 1
    return digits


@dataclass(frozen=True, order=True)
class Digit:
    """A node times a power of two, added or subtracted."""

    node: int
    shift: int
    sign: int


Pair = tuple[int, int, int, int]
"""Two nodes, the second one's shift less the first one's, and whether their signs differ (-1)."""


def _pair(one: Digit, other: Digit) -> Pair:
    if (other.node, other.shift) < (one.node, one.shift):
        one, other = other, one
    return one.node, other.node, other.shift - one.shift, one.sign * other.sign


class _Search:
    """Greedy search for common pairs, which it replaces."""

    def __init__(self, rows: list[set[Digit]], nodes: list[Node], deepest: int):
        self.rows, self.nodes, self._deepest = rows, nodes, deepest
        self._counts: Counter[Pair] = Counter()
        self._where: dict[Pair, Counter[int]] = {}
        self._heap: list[tuple[int, int, Pair]] = []
        for number, row in enumerate(rows):
            digits = sorted(row)
            for i, one in enumerate(digits):
                for other in digits[i + 1 :]:
                    self._count(_pair(one, other), number, 1)
        self._heap = [self._entry(pair) for pair, count in self._counts.items() if count > 1]
        heapq.heapify(self._heap)

    def _entry(self, pair: Pair) -> tuple[int, int, Pair]:
        return -self._counts[pair], self._level(pair), pair

    def _level(self, pair: Pair) -> int:
        return 1 + max(self.nodes[pair[0]].level, self.nodes[pair[1]].level)

    def _count(self, pair: Pair, row: int, change: int) -> None:
        self._counts[pair] += change
        self._where.setdefault(pair, Counter())[row] += change

    def run(self) -> None:
        """Replace pairs until none occurs twice."""
        while self._heap:
            negative, level, pair = heapq.heappop(self._heap)
            count = self._counts[pair]
            if count < 2 or level > self._deepest:
                continue
            if -negative != count:
                heapq.heappush(self._heap, self._entry(pair))
                continue
            self._replace(pair)

    def _replace(self, pair: Pair) -> None:
        found = [
            (number, one, other)
            for number, count in sorted(self._where[pair].items())
            if count > 0
            for one, other in self._occurrences(pair, self.rows[number])
        ]
        if len(found) < 2:
            # Occurrences overlap, so only one is left.
            self._counts[pair] = 0
            return
        first, second, shift, sign = pair
        new = len(self.nodes)
        left, right = self.nodes[first], self.nodes[second]
        self.nodes.append(_sum(left, right, shift, sign))
        for number, one, other in found:
            self._change(number, one, -1)
            self._change(number, other, -1)
            # The pair's shift is that of its second digit less that of its first.
            base = min(one.shift, other.shift)
            self._change(number, Digit(new, base, one.sign), 1)

    @staticmethod
    def _occurrences(pair: Pair, row: set[Digit]) -> list[tuple[Digit, Digit]]:
        first, second, shift, sign = pair
        used: set[Digit] = set()
        found = []
        for one in sorted(row):
            if one.node != first or one in used:
                continue
            other = Digit(second, one.shift + shift, one.sign * sign)
            if other in row and other not in used and other != one:
                used |= {one, other}
                found.append((one, other))
        return found

    def _change(self, number: int, digit: Digit, change: int) -> None:
        row = self.rows[number]
        row.discard(digit)
        for other in row:
            pair = _pair(digit, other)
            self._count(pair, number, change)
            if change > 0 and self._counts[pair] > 1:
                heapq.heappush(self._heap, self._entry(pair))
        if change > 0:
            row.add(digit)


def _sum(left: Node, right: Node, shift: int, sign: int) -> Node:
    return Sum(left, right, max(-shift, 0), max(shift, 0), negative=sign < 0)


def plan_graph(weights: np.ndarray, slices: list[Slice], deepest: int) -> list[Node | None]:
    """Return the plans of all outputs; None for those that are always zero.

    Parameters
    ----------
    weights
        Integer matrix [outputs, inputs].
    slices
        Nodes that the weights multiply.
    deepest
        Maximum levels of shared sums.
    """
    nodes: list[Node] = list(slices)
    rows = [
        {
            Digit(i, position, digit)
            for i, weight in enumerate(row)
            for position, digit in signed_digits(int(weight))
        }
        for row in weights
    ]
    # Equal rows share everything.
    distinct = list({frozenset(row): row for row in rows}.values())
    keys = [frozenset(row) for row in distinct]
    search = _Search([set(row) for row in distinct], nodes, deepest)
    search.run()
    made = {key: _tree(row, nodes) for key, row in zip(keys, search.rows, strict=True)}
    return [made[frozenset(row)] for row in rows]


def _tree(row: set[Digit], nodes: list[Node]) -> Node | None:
    """Add the remaining digits of an output, the shallowest first."""
    if not row:
        return None
    heap = [
        (nodes[d.node].level, d.shift, i, d.sign, nodes[d.node]) for i, d in enumerate(sorted(row))
    ]
    heapq.heapify(heap)
    number = len(heap)
    while len(heap) > 1:
        _, shift, _, sign, node = heapq.heappop(heap)
        _, other_shift, _, other_sign, other = heapq.heappop(heap)
        if sign < 0:
            shift, sign, node, other_shift, other_sign, other = (
                other_shift, other_sign, other, shift, sign, node,
            )  # fmt: skip
        made = _sum(node, other, other_shift - shift, sign * other_sign)
        heapq.heappush(heap, (made.level, min(shift, other_shift), number, sign, made))
        number += 1
    _, shift, _, sign, node = heap[0]
    if sign < 0:
        return Sum(Table((), len(node.form)), node, 0, shift, negative=True)
    return Shifted(node, shift) if shift else node
