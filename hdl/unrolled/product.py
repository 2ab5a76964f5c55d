"""Products by a constant matrix."""

from __future__ import annotations

from typing import Literal

import numpy as np
from amaranth.hdl import Cat, Module, Shape, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gptloom.hdl.attributes import LOADED
from gptloom.hdl.delay import late
from gptloom.hdl.unrolled.distributed import plan_row
from gptloom.hdl.unrolled.fabric import Fabric
from gptloom.hdl.unrolled.network import Network
from gptloom.hdl.unrolled.plan import Node, Slice, cells_of, chain_cells, width_of
from gptloom.hdl.unrolled.shared import plan_graph
from gptloom.hdl.unrolled.slices import Format, Slices

Method = Literal["tables", "graph"]


MOST_BITS_OF_TABLES = 3
"""Most bits per cycle at which tables may be smaller than a graph; above, they are not tried."""


class Plan:
    """The way a product is computed.

    Parameters
    ----------
    weights
        Integer matrix [outputs, inputs].
    format_
        Format of the activations.
    method
        ``tables`` of partial sums, a ``graph`` of adders, or None for the smaller one.
    chain
        Carry chains in series before sums are added in a tree; with tables.
    deepest
        Maximum levels of shared sums; with a graph.

    Attributes
    ----------
    method
        The method chosen.
    roots
        Node computed from each slice, for every output; None if it is always zero.
    starts
        Constant added to the first slice's value, for every output.
    cells
        Approximate number of lookup tables it takes on an ECP5.
    """

    def __init__(
        self,
        weights: np.ndarray,
        format_: Format,
        *,
        method: Method | None = None,
        chain: int = 4,
        deepest: int = 3,
    ):
        if weights.ndim != 2 or not weights.size or weights.dtype.kind not in "iu":
            raise ValueError("weights are a matrix of integers, [outputs, inputs]")
        self.weights, self.format = weights.astype(np.int64), format_
        if method is None and format_.bits_per_cycle > MOST_BITS_OF_TABLES:
            method = "graph"
        plans = {}
        if method != "graph":
            plans["tables"] = self._tables(chain)
        if method != "tables":
            plans["graph"] = self._graph(deepest)
        self.cells, self.method = min((self._cells(*plan), name) for name, plan in plans.items())
        self.roots, self.starts = plans[self.method]

    def _cells(self, roots: list[Node | None], starts: list[int]) -> int:
        cells = cells_of(roots)
        if self.format.count > 1:
            distinct = {id(r): (r, s) for r, s in zip(roots, starts, strict=True) if r}
            cells += sum(chain_cells(self.accumulator(*each).width) for each in distinct.values())
        return cells

    def accumulator(self, root: Node, start: int) -> Shape:
        """Return the shape of an output's accumulator, exact after every slice."""
        low, high, bounds = start, start, []
        for _ in range(self.format.count):
            bounds.append((low + root.low, high + root.high))
            low, high = (bound >> self.format.bits_per_cycle for bound in bounds[-1])
        return width_of(min(b[0] for b in bounds), max(b[1] for b in bounds))

    def _bias(self) -> np.ndarray:
        """Return the constant that removes the activations' bias from every output."""
        bits = self.format.activation_bits
        return -self.format.biased * (self.weights.sum(axis=1) << bits - 1)

    def _tables(self, chain: int) -> tuple[list[Node | None], list[int]]:
        forms = np.kron(self.weights, np.array(self.format.bit_values, np.int64))
        # A table's constant counts in every slice; the remainder is added to the first one only.
        bits = self.format.bits_per_cycle
        times = ((1 << self.format.activation_bits) - 1) // ((1 << bits) - 1)
        bias = self._bias()
        constants = np.rint(bias / times).astype(np.int64)
        made: dict[bytes, Node | None] = {}
        for form, constant in zip(forms, constants, strict=True):
            key = form.tobytes()
            if key not in made:
                made[key] = plan_row(form, int(constant), chain, bits)
        return [made[form.tobytes()] for form in forms], (bias - constants * times).tolist()

    def _graph(self, deepest: int) -> tuple[list[Node | None], list[int]]:
        inputs, values = self.weights.shape[1], np.array(self.format.bit_values, np.int64)
        forms = np.kron(np.eye(inputs, dtype=np.int64), values)
        slices = [Slice(i, form) for i, form in enumerate(forms)]
        return plan_graph(self.weights, slices, deepest), self._bias().tolist()

    @property
    def levels(self) -> int:
        """Depth: tables, sums and an accumulator in series."""
        return max(root.level if root else 0 for root in self.roots) + (self.format.count > 1)

    def latency(self, levels_per_register: int) -> int:
        """Return the cycles from the last slice to the product.

        Parameters
        ----------
        levels_per_register
            Maximum levels in series within one cycle.
        """
        if levels_per_register < 1:
            raise ValueError(f"levels_per_register is {levels_per_register}, but 1 is the least")
        return max(1, -(-self.levels // levels_per_register))

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Least and greatest value of every output."""
        shape = self.format.shape
        ends = np.array([-(1 << shape.width - 1), (1 << shape.width - 1) - 1])
        if not shape.signed:
            ends = np.array([0, (1 << shape.width) - 1])
        products = self.weights[:, :, None] * ends
        return products.min(axis=2).sum(axis=1), products.max(axis=2).sum(axis=1)


class Product(wiring.Component):
    """Multiplies vectors of activations by a constant matrix, exactly.

    Each slice's product is added to the upper part of the sum so far; the lower bits are final and
    wait in a shift register. Vectors follow each other every `format.count` cycles, or with any
    gaps.

    Parameters
    ----------
    plan
        The way it is computed.
    levels_per_register
        Maximum tables, sums and accumulators in series within one cycle.
    outputs_per_copy
        Outputs that share a copy of the slices: a wire to all of them would be slow. None for one
        copy shared by all.
    fabric
        Building blocks.

    Attributes
    ----------
    latency
        Cycles from the `last` slice of a vector to `valid`: one for the copies, and
        ``ceil(levels / levels_per_register)``, where `levels` is the depth of the plan, and one
        more level for the accumulator where a vector has several slices.
    i : In(Slices)
        The activations.
    o : Out of every output
        The products, for one cycle only.
    valid : Out(1)
        `o` is valid.
    """

    @staticmethod
    def latency_of(plan: Plan, levels_per_register: int) -> int:
        """Return the latency."""
        return 1 + plan.latency(levels_per_register)

    def __init__(
        self,
        plan: Plan,
        *,
        levels_per_register: int = 4,
        outputs_per_copy: int | None = None,
        fabric: type[Fabric] = Fabric,
    ):
        self._stages = plan.latency(levels_per_register)
        self.latency = self.latency_of(plan, levels_per_register)
        self._outputs_per_copy = outputs_per_copy
        self._plan, self._fabric = plan, fabric
        outputs, inputs = plan.weights.shape
        low, high = plan.bounds
        super().__init__(
            {
                "i": In(Slices(inputs, plan.format)),
                "o": Out(width_of(int(low.min()), int(high.max()))).array(outputs),
                "valid": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        plan = self._plan
        fabric = self._fabric(m)
        distinct = list({id(root): root for root in plan.roots if root is not None}.values())
        starts = {id(r): start for r, start in zip(plan.roots, plan.starts, strict=True)}
        size = self._outputs_per_copy or len(distinct) or 1
        made: dict[int, Value] = {}
        for at in range(0, len(distinct), size):
            roots = distinct[at : at + size]
            # The last level is outside the network: the accumulator, or just a register.
            accumulates = plan.format.count > 1
            m.submodules[f"network_{at}"] = network = Network(
                roots,
                plan.weights.shape[1],
                plan.format,
                stages=self._stages,
                after=int(accumulates),
                fabric=self._fabric,
            )
            slices = self._copied(m, fabric)
            wiring.connect(m, slices, network.i)
            first = late(m, slices.first, self._stages - 1)
            for number, root in enumerate(roots):
                value = getattr(network, f"sum_{number}")
                if accumulates:
                    start = starts[id(root)]
                    made[id(root)] = self._accumulated(m, fabric, first, start, value, root)
                else:
                    made[id(root)] = register = Signal.like(value, name="o", **LOADED)
                    m.d.sync += register.eq(value)
        for o, root in zip(self.o, plan.roots, strict=True):
            if root is not None:
                m.d.comb += o.eq(made[id(root)])
        m.d.comb += self.valid.eq(late(m, self.i.valid & self.i.last, self.latency))
        return m

    def _copied(self, m: Module, fabric: Fabric):
        """Return the slices one cycle later, in registers of their own."""
        copy = Slices(len(self.i.bits), self._plan.format).create()
        for name in ("bits", "inverted"):
            old, new = Cat(getattr(self.i, name)), Cat(getattr(copy, name))
            m.d.comb += new.eq(fabric.copy(old))
        m.d.comb += copy.first.eq(fabric.copy(self.i.first))
        return copy

    def _accumulated(self, m: Module, fabric: Fabric, first, start: int, value, root: Node):
        """Return the register with a vector's product, after its last slice."""
        bits, count = self._plan.format.bits_per_cycle, self._plan.format.count
        shape = self._plan.accumulator(root, start)
        upper = Signal(shape, name="upper", **LOADED)
        lower = Signal(bits * (count - 1), name="lower", **LOADED)
        m.d.sync += [
            upper.eq(fabric.accumulate(first, start, upper >> bits, value, shape)),
            lower.eq(Cat(lower, upper[:bits])[bits:]),
        ]
        whole = Cat(lower, upper)
        return whole.as_signed() if shape.signed else whole
