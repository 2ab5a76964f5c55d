"""Fixtures of the hardware's tests: a bench for one block."""

from enum import EnumType
from functools import cache

import pytest
from amaranth.hdl import Cat, Const, Shape, ShapeCastable
from amaranth.lib import data
from amaranth.lib.wiring import In

from gptloom.sim.engines import open_engine


class Fields(dict):
    """The fields of a struct, also as attributes."""

    __getattr__ = dict.__getitem__


def reader(shape):
    """Return the function that turns a value's bits into numbers, `Fields` and lists."""
    if isinstance(shape, EnumType):
        return reader(Shape.cast(shape))
    if isinstance(shape, data.ArrayLayout):
        # Amaranth's own constants do the same, but look up their fields at every access.
        element, width = reader(shape.elem_shape), Shape.cast(shape.elem_shape).width
        return lambda bits: [element(bits >> i * width) for i in range(shape.length)]
    if isinstance(shape, ShapeCastable):
        fields = [(name, f.offset, reader(f.shape)) for name, f in data.Layout.cast(shape)]
        return lambda bits: Fields((name, read(bits >> at)) for name, at, read in fields)
    width, signed = Shape.cast(shape).width, Shape.cast(shape).signed
    mask, sign = (1 << width) - 1, (1 << width >> 1) if signed else 0
    return lambda bits: ((bits & mask) ^ sign) - sign


class Bench:
    """One block in Amaranth's own simulator; structs are dicts, arrays lists."""

    def __init__(self, component):
        self.component = component
        self._engine = open_engine(component, "pysim")
        self._members = {
            "__".join(map(str, path)): member
            for path, member, _ in component.signature.flatten(component)
        }
        self._readers = {name: reader(member.shape) for name, member in self._members.items()}
        self._widths = {name: Shape.cast(m.shape).width for name, m in self._members.items()}
        self._array = cache(self._array)
        self._held = {}

    def set(self, **values):
        """Set inputs together: the design settles once, which takes most of the time."""
        changed = {}
        for name, value in values.items():
            for port, bits in self._encode(name, value):
                if self._held.get(port) != bits:
                    changed[port] = self._held[port] = bits
        if changed:
            ports, packed, at = [], 0, 0
            for port, bits in changed.items():
                ports.append(self._engine._signal(port))
                packed |= bits << at
                at += self._widths[port]
            self._engine._context.set(Cat(*ports), packed)

    def _encode(self, name, value):
        """Return ports and their bits."""
        if name not in self._members:
            return self._encode_array(name, value)
        assert self._members[name].flow == In, f"{name} is an output"
        shape = self._members[name].shape
        if isinstance(shape, ShapeCastable):
            value = Const.cast(shape.const(value)).value
        return [(name, int(value) & ((1 << self._widths[name]) - 1))]

    def _encode_array(self, name, value):
        """Return an array's from a list, or from a number with the first port lowest."""
        ports = self._array(name)
        if isinstance(value, int):
            value = [value >> i * self._widths[ports[0]] for i in range(len(ports))]
        return [self._encode(port, v)[0] for port, v in zip(ports, value, strict=True)]

    def _array(self, name):
        return [
            f"{name}__{i}" for i in range(sum(n.startswith(f"{name}__") for n in self._members))
        ]

    def get(self, name):
        if name not in self._members:
            return [self.get(port) for port in self._array(name)]
        return self._readers[name](self._engine.peek(name))

    def step(self, cycles=1):
        self._engine.step(cycles)

    def play(self, inputs, outputs, after=0):
        """Drive one dict of inputs per cycle, then `after` idle cycles; return outputs by cycle."""
        seen = []
        for values in [*inputs, *[{}] * after]:
            self.set(**values)
            seen.append({name: self.get(name) for name in outputs})
            self.step()
        return seen


@pytest.fixture(scope="session")
def bench():
    """Make a bench from a block."""
    return Bench
