"""Products of vectors with constant matrices."""

from collections.abc import Sequence

import numpy as np
from amaranth.hdl import Cat, Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from gptloom.hdl.delay import late
from gptloom.hdl.unrolled.fabric import Ecp5Fabric, Fabric
from gptloom.hdl.unrolled.plan import width_of
from gptloom.hdl.unrolled.product import Plan, Product
from gptloom.hdl.unrolled.slices import Format, Slicer


class Dense(wiring.Component):
    """Products of a vector with matrices that have the same input, in a form simulation runs fast.

    Subclasses are hardware with the same behaviour, cycle by cycle.

    Parameters
    ----------
    matrices
        Integer arrays [outputs, inputs]; planned as one product, they share common sums.
    activation_bits, bits_per_cycle, is_signed
        See :class:`.Format`.
    levels_per_register, outputs_per_copy
        See :class:`.Product`.

    Attributes
    ----------
    interval
        Minimum cycles between vectors.
    latency
        Cycles from `valid` to `o_valid`: the slices after the first, and the product.
    i : In(activation_bits) of every input
        The vector.
    valid : In(1)
        `i` is valid.
    cells
        Approximate number of lookup tables it takes on an ECP5.
    o : list of lists of Value
        Products with each matrix, for one cycle only.
    o_valid : Out(1)
        `o` is valid.
    """

    def __init__(
        self,
        matrices: Sequence[np.ndarray],
        activation_bits: int,
        bits_per_cycle: int,
        *,
        is_signed: bool,
        levels_per_register: int,
        outputs_per_copy: int | None,
    ):
        form = Format(activation_bits, bits_per_cycle, is_signed=is_signed)
        self._plan = plan = Plan(np.concatenate(matrices), form)
        self._options = dict(
            levels_per_register=levels_per_register, outputs_per_copy=outputs_per_copy
        )
        self._sizes = [len(matrix) for matrix in matrices]
        self.interval, self.cells = form.count, plan.cells
        self.latency = form.count - 1 + Product.latency_of(plan, levels_per_register)
        low, high = plan.bounds
        super().__init__(
            {
                "i": In(form.shape).array(matrices[0].shape[1]),
                "valid": In(1),
                "all": Out(width_of(int(low.min()), int(high.max()))).array(sum(self._sizes)),
                "o_valid": Out(1),
            }
        )

    @property
    def o(self) -> list[list]:
        """Return the products by matrix."""
        values, found = iter(self.all), []
        for size in self._sizes:
            found.append([next(values) for _ in range(size)])
        return found

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.o_valid.eq(late(m, self.valid, self.latency))
        inputs = late(m, Cat(self.i), self.latency)
        vector = data.ArrayLayout(self.i[0].shape(), len(self.i))(inputs)
        for o, row in zip(self.all, self._plan.weights.tolist(), strict=True):
            m.d.comb += o.eq(sum(value * weight for value, weight in zip(vector, row, strict=True)))
        return m


class SlicedDense(Dense):
    """The same, made of a slicer and a product."""

    fabric: type[Fabric] = Fabric

    def elaborate(self, platform):
        """Return the hardware."""
        m = Module()
        plan = self._plan
        m.submodules.slicer = slicer = Slicer(len(self.i), plan.format)
        m.submodules.product = product = Product(plan, **self._options, fabric=self.fabric)
        wiring.connect(m, slicer.o, product.i)
        m.d.comb += [
            slicer.valid.eq(self.valid),
            *(to.eq(value) for to, value in zip(slicer.i, self.i, strict=True)),
            *(to.eq(value) for to, value in zip(self.all, product.o, strict=True)),
            self.o_valid.eq(product.valid),
        ]
        return m


class Ecp5Dense(SlicedDense):
    """The same in an ECP5's carry cells."""

    fabric = Ecp5Fabric
