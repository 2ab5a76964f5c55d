"""A plan as a pipeline, from slices to sums."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gptloom.hdl.attributes import LOADED
from gptloom.hdl.unrolled.fabric import Fabric
from gptloom.hdl.unrolled.plan import Node, Shifted, Slice, Sum, Table, Term, nodes_of
from gptloom.hdl.unrolled.slices import Format, Slices


class Network(wiring.Component):
    """Computes the sums of a plan, for a new slice every cycle.

    Every node is computed as late as its users allow, so that the values waiting in registers are
    slices, which all outputs share.

    Parameters
    ----------
    roots
        Nodes to compute.
    inputs, format_
        Number and format of the activations.
    stages
        Cycles over which the plan and the `after` levels are spread.
    after
        Levels outside that follow in the last cycle.
    fabric
        Building blocks.

    Attributes
    ----------
    latency
        Cycles from a slice to its sums, which are not registered: ``stages - 1``.
    i : In(Slices)
        The slices.
    sum_0, sum_1, ... : Out
        Values of the roots for a slice.
    """

    def __init__(
        self,
        roots: Sequence[Node],
        inputs: int,
        format_: Format,
        *,
        stages: int,
        after: int = 0,
        fabric: type[Fabric] = Fabric,
    ):
        self._roots, self._format, self._fabric = list(roots), format_, fabric
        self._nodes = nodes_of(self._roots)
        levels = max((root.level for root in roots), default=0)
        self._total = max(levels + after, 1)
        self._stages, self.latency = stages, stages - 1
        self._stage = self._late(levels)
        super().__init__(
            {
                "i": In(Slices(inputs, format_)),
                **{f"sum_{i}": Out(root.shape) for i, root in enumerate(roots)},
            }
        )

    def _late(self, levels: int) -> dict[int, int]:
        """Return the latest possible stage of every node."""
        latest = {id(node): levels for node in self._nodes}
        for node in reversed(self._nodes):
            for operand in node.operands:
                step = 0 if isinstance(node, Shifted) else 1
                latest[id(operand)] = min(latest[id(operand)], latest[id(node)] - step)
        # Slices are available from the start, however late they are used.
        latest |= {id(node): 0 for node in self._nodes if isinstance(node, Slice)}
        # Levels are spread evenly; the first stages take the remainder.
        return {
            key: 0 if level < 1 else (level - 1) * self._stages // self._total
            for key, level in latest.items()
        }

    def elaborate(self, platform):
        m = Module()
        self._delayed: dict[tuple[int, int], Value] = {}
        self._bits = list(zip(Cat(self.i.bits), Cat(self.i.inverted), strict=True))
        self._values: dict[int, Value] = {}
        fabric = self._fabric(m)
        for node in self._nodes:
            self._values[id(node)] = self._make(m, fabric, node)
        for i, root in enumerate(self._roots):
            m.d.comb += getattr(self, f"sum_{i}").eq(self._at(m, root, self._stages - 1))
        return m

    def _make(self, m: Module, fabric: Fabric, node: Node) -> Value:
        stage = self._stage[id(node)]
        match node:
            case Slice():
                value = self.i.bits[node.index]
                return value if min(self._format.bit_values) > 0 else value.as_signed()
            case Table():
                bits = [bit for bit, _ in self._terms(m, node.terms, stage)]
                return fabric.table(bits, node.entries, node.shape)
            case Shifted():
                value = self._at(m, node.operand, stage)
                shifted = Cat(Const(0, node.shift), value)
                return shifted.as_signed() if node.shape.signed else shifted
            case Sum() if node.absorbed:
                left, bits = self._at(m, node.left, stage), node.right
                terms = self._terms(m, bits.terms, stage)
                return fabric.add_table(left, terms, bits.entries, node.shape, node.right_shift)
            case Sum():
                operands = (self._at(m, operand, stage) for operand in (node.left, node.right))
                shifts = (node.left_shift, node.right_shift)
                return fabric.add(*operands, node.shape, shifts, negative=node.negative)

    def _terms(self, m: Module, terms: Sequence[Term], stage: int) -> list[tuple[Value, Value]]:
        """Return the terms' bits with their complements, delayed to a stage."""
        found = []
        for term in terms:
            pair = [self._delay(m, bit, stage) for bit in self._bits[term.bit]]
            found.append(tuple(reversed(pair)) if term.inverted else tuple(pair))
        return found

    def _at(self, m: Module, node: Node, stage: int) -> Value:
        """Return a node's value, delayed to a later stage."""
        return self._delay(m, self._values[id(node)], stage - self._stage[id(node)])

    def _delay(self, m: Module, value: Value, cycles: int) -> Value:
        if not cycles or isinstance(value, Const):
            return value
        key = id(value), cycles
        if key not in self._delayed:
            before = self._delay(m, value, cycles - 1)
            after = Signal.like(before, name="delayed", **LOADED)
            m.d.sync += after.eq(before)
            self._delayed[key] = after
        return self._delayed[key]
