"""What the hardware's tests share: a bench for one block."""

import pytest
from amaranth.hdl import Const, Shape, ShapeCastable
from amaranth.lib.wiring import In

from gptloom.sim.engines import open_engine


class Bench:
    """One block in Amaranth's own simulator; ports take and give numbers, dicts and lists."""

    def __init__(self, component):
        self._engine = open_engine(component, "pysim")
        self._members = {
            "__".join(map(str, path)): member
            for path, member, _ in component.signature.flatten(component)
        }

    def set(self, **values):
        for name, value in values.items():
            assert self._members[name].flow == In, f"{name} is an output"
            shape = self._members[name].shape
            if isinstance(shape, ShapeCastable):
                value = Const.cast(shape.const(value)).value
            self._engine.poke(name, int(value) & ((1 << Shape.cast(shape).width) - 1))

    def get(self, name):
        shape = self._members[name].shape
        bits = self._engine.peek(name)
        if isinstance(shape, ShapeCastable):
            return shape.from_bits(bits)
        return Const(bits, shape).value

    def step(self, cycles=1):
        self._engine.step(cycles)

    def play(self, inputs, outputs, after=0):
        """Drive one dict of inputs a cycle, then `after` idle ones; return outputs by cycle."""
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
