"""Building blocks of plans: tables, sums and accumulators, for any part and for the ECP5."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from amaranth.hdl import (
    Cat,
    ClockSignal,
    Const,
    Instance,
    Module,
    Mux,
    Shape,
    Signal,
    Value,
    signed,
)

from gptloom.hdl.attributes import KEEP, LOADED
from gptloom.hdl.unrolled.chains import connect, truth_of


class Fabric:
    """Makes tables, sums and accumulators in portable form, as used in simulation.

    Subclasses build the same for a certain part.

    Parameters
    ----------
    m
        Module to add the hardware to.
    """

    def __init__(self, m: Module):
        self._m = m

    def table(self, bits: Sequence[Value], entries: Sequence[int], shape: Shape) -> Value:
        """Return the entry addressed by the bits, the first bit lowest."""
        if not bits:
            return Const(entries[0], shape)
        o = Signal(shape, name="table")
        with self._m.Switch(Cat(bits)):
            for number, entry in enumerate(entries):
                with self._m.Case(number):
                    self._m.d.comb += o.eq(entry)
        return o

    def add(
        self,
        left: Value,
        right: Value,
        shape: Shape,
        shifts: tuple[int, int] = (0, 0),
        *,
        negative: bool = False,
    ) -> Value:
        """Return the sum or difference of two values, each shifted left."""
        left, right = left << shifts[0], right << shifts[1]
        return self._kept(left - right if negative else left + right, shape)

    def add_table(
        self,
        left: Value,
        bits: Sequence[tuple[Value, Value]],
        entries: Sequence[int],
        shape: Shape,
        shift: int = 0,
    ) -> Value:
        """Return the sum of a value and a table's entry shifted left.

        Parameters
        ----------
        left
            The value.
        bits
            Number of the entry, the first bit lowest; each with its complement.
        entries
            Contents of the table.
        shape
            Shape of the sum.
        shift
            Places to shift the entry left.
        """
        width = Shape.cast(range(min(entries), max(entries) + 1))
        right = self.table([bit for bit, _ in bits], entries, width)
        return self.add(left, right, shape, (0, shift))

    def accumulate(
        self, first: Value, start: int, before: Value, value: Value, shape: Shape
    ) -> Value:
        """Return a value plus the sum before, or plus a constant if it is the first value."""
        return self._kept(value + Mux(first, start, before), shape)

    def digit(self, value: Value, low: Value, high: Value, *, negative: bool = False) -> Value:
        """Return the product of a signed value and two bits; if `negative`, the upper counts -2."""
        shape = signed(len(value) + 2)
        upper = Mux(high, value, 0) << 1
        product = Mux(low, value, 0) + (-upper if negative else upper)
        return self._kept(product, shape)

    def copy(self, value: Value) -> Value:
        """Return a value one cycle later, in registers that have no other users."""
        register = Signal.like(value, name="copy", **LOADED)
        self._m.d.sync += register.eq(value)
        return register

    def _kept(self, value: Value, shape: Shape) -> Value:
        o = Signal(shape, name="sum", attrs=KEEP)
        self._m.d.comb += o.eq(value)
        return o


@dataclass(frozen=True)
class _Cell:
    """One bit of a carry chain.

    Attributes
    ----------
    a
        The left operand's bit.
    bits
        Bits that determine the right operand's bit, each with its complement if there is one.
    truth
        Truth table of the right operand's bit over these.
    """

    a: Value
    bits: Sequence[tuple[Value, Value | None]]
    truth: int

    def connected(self) -> tuple[list[Value], int]:
        """Return the signals on A, B, C and D, and the contents of the lookup table.

        A constant is not connected: an unconnected input reads as 1.
        """
        bits, truth = self._varying()
        pins = connect(truth, len(bits))
        inputs = [bits[bit][turned] for bit, turned in zip(pins.order, pins.inverted, strict=True)]
        a, init = self.a, pins.init
        if isinstance(a, Const):
            init = sum((init >> (k & ~1 | a.value) & 1) << k for k in range(16))
            a = Const(1, 1)
        return [a, *inputs, *[Const(1, 1)] * (3 - len(inputs))], init

    def _varying(self) -> tuple[list[tuple[Value, Value | None]], int]:
        """Return the bits that are not constant, and the function of these."""
        fixed = {i: bit.value for i, (bit, _) in enumerate(self.bits) if isinstance(bit, Const)}
        rows = [
            k for k in range(1 << len(self.bits)) if all(k >> i & 1 == v for i, v in fixed.items())
        ]
        truth = sum((self.truth >> k & 1) << number for number, k in enumerate(rows))
        return [bit for i, bit in enumerate(self.bits) if i not in fixed], truth


_NOTHING = _Cell(Const(0, 1), [], 0)

_Half = tuple[list[Value], int]
"""Signals on A, B, C and D of half a carry cell, and the contents of its lookup table."""


def _connected(cells: Sequence[_Cell]) -> list[_Half]:
    return [cell.connected() for cell in cells]


def _bit(value: Value, position: int) -> Value:
    """Return one bit of a number of any length, as a Const if the bit is constant."""
    if position < 0:
        return Const(0, 1)
    if isinstance(value, Const):
        return Const(value.value >> position & 1, 1)
    if position < len(value):
        return value[position]
    return value[-1] if value.shape().signed else Const(0, 1)


class Ecp5Fabric(Fabric):
    """The same in carry cells (CCU2C), with the tables that they look up by themselves.

    Synthesis would put extra lookup tables in front of the carry cells' own.
    """

    def add(
        self,
        left: Value,
        right: Value,
        shape: Shape,
        shifts: tuple[int, int] = (0, 0),
        *,
        negative: bool = False,
    ) -> Value:
        """Return the sum or difference of two values, each shifted left."""
        passed = shifts[1] if negative else max(shifts)
        pairs = [
            (_bit(left, i - shifts[0]), _bit(right, i - shifts[1])) for i in range(shape.width)
        ]
        low = [a if shifts[1] else b for a, b in pairs[:passed]]
        cells = [_Cell(a, [(b, None)], 0b01 if negative else 0b10) for a, b in pairs[passed:]]
        return self._chain(low, _connected(cells), shape, carry=negative)

    def add_table(
        self,
        left: Value,
        bits: Sequence[tuple[Value, Value]],
        entries: Sequence[int],
        shape: Shape,
        shift: int = 0,
    ) -> Value:
        """Return the sum of a value and a table's entry shifted left."""
        low = [_bit(left, i) for i in range(shift)]
        cells = [
            _Cell(_bit(left, i), list(bits), truth_of(entries, i - shift))
            for i in range(shift, shape.width)
        ]
        return self._chain(low, _connected(cells), shape)

    def accumulate(
        self, first: Value, start: int, before: Value, value: Value, shape: Shape
    ) -> Value:
        """Return a value plus the sum before, or plus a constant if it is the first value."""
        cells = []
        for i in range(shape.width):
            constant = 0b1100 if start >> i & 1 else 0
            inputs = [(_bit(before, i), None), (first, None)]
            cells.append(_Cell(_bit(value, i), inputs, 0b0010 | constant))
        return self._chain([], _connected(cells), shape)

    def digit(self, value: Value, low: Value, high: Value, *, negative: bool = False) -> Value:
        """Return the product of a signed value and two bits; with `negative` the upper counts -2.

        A cell adds two products of bits by itself: it propagates the carry where they differ, and
        otherwise generates one where the first is 1, which is the entry for C = D = 0. With a
        negative upper bit, the first is the complement.
        """
        shape = signed(len(value) + 2)
        init = sum(((k & 3 == 3) ^ (k >> 2 == 3) ^ negative) << k for k in range(16))
        halves = []
        for i in range(1, shape.width):
            lower, upper = [_bit(value, i), low], [_bit(value, i - 1), high]
            halves.append((upper + lower if negative else lower + upper, init))
        return self._chain([value[0] & low], halves, shape, carry=negative)

    def copy(self, value: Value) -> Value:
        """Return a value one cycle later, in registers that have no other users.

        Synthesis would merge registers with equal contents, but leaves instances of the part's
        flip-flops alone.
        """
        o = Signal(len(value), name="copy")
        for i in range(len(value)):
            self._m.submodules += Instance(
                "TRELLIS_FF",
                p_GSR="AUTO",
                p_CEMUX="1",
                p_CLKMUX="CLK",
                p_LSRMUX="LSR",
                p_REGSET="RESET",
                i_CLK=ClockSignal(),
                i_LSR=Const(0, 1),
                i_DI=value[i],
                o_Q=o[i],
            )
        return o

    def place_cell(self, **ports: Value | str) -> None:
        """Add a carry cell, with ports and parameters as those of an instance."""
        self._m.submodules += Instance("CCU2C", **ports)

    def _chain(
        self, low: Sequence[Value], bits: Sequence[_Half], shape: Shape, *, carry: bool = False
    ) -> Value:
        """Return a carry chain's sum, above low bits that need no addition."""
        halves = [*bits, *_connected([_NOTHING] * (1 - len(bits) % 2))]
        # There is no carry in, so the first bit generates one: where its lookup table is 0, the
        # carry is the entry for A = B = 1 and C = D = 0.
        halves.insert(0, ([Const(1, 1)] * 4, int(carry) << 3))
        o = Signal(len(halves), name="chain")
        carries: dict[str, Value] = {}
        for i in range(0, len(halves), 2):
            ports: dict[str, Value | str] = {}
            for half, (inputs, init) in enumerate(halves[i : i + 2]):
                ports |= {f"i_{n}{half}": v for n, v in zip("ABCD", inputs, strict=True)}
                ports |= {f"p_INIT{half}": Const(init, 16), f"p_INJECT1_{half}": "NO"}
                ports[f"o_S{half}"] = o[i + half]
            ports |= carries
            if i + 2 < len(halves):
                # An unused carry out would cost a cell to lead it out of the chain.
                carries = {"i_CIN": Signal(name="carry")}
                ports["o_COUT"] = carries["i_CIN"]
            self.place_cell(**ports)
        whole = Cat(*low, o[1 : 1 + len(bits)])
        return whole.as_signed() if shape.signed else whole
