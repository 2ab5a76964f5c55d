"""The scale: a dot product's factor, and as many bits as its site needs."""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from gptloom.firmware.isa import Function, Input
from gptloom.firmware.isa import Scale as ScaleOf
from gptloom.firmware.machine import EXPONENT_ROW_BITS, Machine
from gptloom.hdl.arithmetic import remainder
from gptloom.hdl.attributes import LOADED
from gptloom.hdl.delay import late
from gptloom.hdl.folded.layouts import (
    EXPONENT_BITS,
    Beat,
    Scale,
    Temperature,
    accumulator,
    stream_beat,
)
from gptloom.hdl.folded.requantise import Requantise
from gptloom.model.arithmetic import EMBEDDING_SHIFT, LOGIT_BITS, SILU_BITS, UNIT_MANTISSA
from gptloom.model.golden import LEAST_SUM_EXPONENT

_PRODUCT = 2
"""Cycles in which a gated machine multiplies the stream by gains, and shifts sums."""


class Scaling(wiring.Component):
    """Takes the drain's beat, or elements of the residual stream in its place, and scales them.

    Attributes
    ----------
    latency
        From a beat to its numbers: 4 cycles, 9 in a deep machine, 6 in a gated one.
    i : In
        The drain's beat.
    recurrent : In
        Sums that take the place of the beat's where recurrent ones are asked for; of recurrent
        machines only.
    stream : In
        Elements `index`, ... of the residual stream.
    gains, exponents : In
        Those of the last norm's gains, and of the rows' exponents; of gated machines only.
    norm, reciprocals, temperature : In
        Scales of the instructions that ask for them; reciprocals by head. A gated machine takes a
        norm one cycle later.
    o : Out
        Scaled numbers.
    """

    def __init__(self, machine: Machine):
        self._machine = machine
        self.latency = self.latency_of(machine)
        some = {}
        if machine.gated:
            some = {
                "gains": In(data.ArrayLayout(signed(machine.precision.weights), machine.writers)),
                "exponents": In(data.ArrayLayout(EXPONENT_ROW_BITS, machine.writers)),
            }
        if machine.recurrent:
            some["recurrent"] = In(accumulator(machine)).array(machine.writers)
        super().__init__(
            {
                **some,
                "i": In(Beat(machine)),
                "stream": In(stream_beat(machine)),
                "norm": In(Scale),
                "reciprocals": In(data.ArrayLayout(Scale, machine.heads)),
                "temperature": In(Temperature),
                "o": Out(data.ArrayLayout(signed(LOGIT_BITS), machine.writers)),
            }
        )

    @staticmethod
    def latency_of(machine: Machine) -> int:
        """Return the latency."""
        return Requantise.latency_of(machine.deep) + _PRODUCT * machine.gated

    def elaborate(self, platform):
        m = Module()
        machine, instruction, to = self._machine, self.i.instruction, self.i.to
        precision, function = machine.precision, instruction.function
        widths, narrow = self._widths()
        wide, relu = to.sampler, function == Function.RELU
        pre_shift = precision.pre_shift
        if machine.gated:
            # Sums are shifted beforehand.
            wide, pre_shift = wide | to.stream, 0
            narrow, wide, relu = (late(m, flag, _PRODUCT) for flag in (narrow, wide, relu))
        scales = self._scales(m)
        numbers = self._gained(m, scales) if machine.gated else self._numbers()
        factors = self._with_norm(m, scales) if machine.gated else self._factors(scales)
        for i, (number, factor) in enumerate(zip(numbers, factors, strict=True)):
            m.submodules[f"requantise_{i}"] = requantise = Requantise(
                machine.accumulator_bits, machine.deep, widths, precision.activations, pre_shift
            )
            mantissa, shift = factor
            m.d.comb += [
                requantise.i.eq(number),
                requantise.mantissa.eq(mantissa),
                requantise.shift.eq(shift),
                requantise.narrow.eq(narrow),
                requantise.wide.eq(wide),
                requantise.relu.eq(relu),
                self.o[i].eq(requantise.o),
            ]
        return m

    def _factors(self, scales) -> list[tuple[Value, Value]]:
        """Return mantissa and shift for each writer."""
        instruction = self.i.instruction
        return [(scale.mantissa, instruction.shift + scale.exponent) for scale in scales]

    def _with_norm(self, m: Module, scales) -> list[tuple[Value, Value]]:
        """Return them two cycles later, with a norm and the rows' exponents."""
        instruction, factors = self.i.instruction, []
        mixes = instruction.scale == ScaleOf.SUM
        # Tables are slow, and norms are waited for: they come a cycle later.
        norm = Mux(late(m, instruction.scale == ScaleOf.NORM), self.norm, 0)
        norm = data.View(Scale, norm)
        for scale, row in zip(scales, self.exponents, strict=True):
            exponent = Mux(mixes, LEAST_SUM_EXPONENT, scale.exponent)
            shift = late(m, instruction.shift + exponent) + late(m, row) + norm.exponent
            # From there on nothing is left of any number.
            shift = Mux(shift[EXPONENT_BITS:].any(), (1 << EXPONENT_BITS) - 1, shift)
            mantissa = late(m, late(m, scale.mantissa) | norm.mantissa)
            factors.append((mantissa, late(m, shift[:EXPONENT_BITS])))
        return factors

    def _numbers(self) -> list[Value]:
        """Return what becomes results: sums, or elements of the stream as large as sums."""
        source = self.i.instruction.input
        return [
            Mux(source == Input.SUMS, sum_, element << EMBEDDING_SHIFT)
            for sum_, element in zip(self._sums(), self.stream, strict=True)
        ]

    def _gained(self, m: Module, scales) -> list[Value]:
        """Return them shifted, or elements of the stream times their gains, two cycles later."""
        machine, instruction = self._machine, self.i.instruction
        shift = machine.precision.pre_shift
        mixes = instruction.scale == ScaleOf.SUM
        gains = late(m, instruction.input == Input.GAINED, _PRODUCT)
        numbers = []
        for i, (number, scale) in enumerate(zip(self._numbers(), scales, strict=True)):
            # The largest numerator is in the sum, so that its exponent is no smaller.
            more = (scale.exponent - LEAST_SUM_EXPONENT)[:EXPONENT_BITS]
            least = late(m, Mux(mixes, more, shift))
            held, shifted = (
                Signal(accumulator(machine), name=f"{n}_{i}", **LOADED) for n in ("held", "shifted")
            )
            m.d.sync += [held.eq(number), shifted.eq(held >> least)]
            product = late(m, late(m, self.stream[i]) * late(m, self.gains[i]))
            numbers.append(Mux(gains, product >> shift, shifted))
        return numbers

    def _sums(self) -> list[Value]:
        """Return the sums of the beat, or recurrent ones where its instruction scales those."""
        if not self._machine.recurrent:
            return list(self.i.sums)
        mixed = self.i.instruction.scale == ScaleOf.SUM
        pairs = zip(self.recurrent, self.i.sums, strict=True)
        return [Mux(mixed, recurrent, sum_) for recurrent, sum_ in pairs]

    def _widths(self) -> tuple[tuple[int, ...], Value]:
        """Return the widths of scaled numbers that are no activations, and whether a beat has each.

        A turned key is narrowed after that.
        """
        precision, to = self._machine.precision, self.i.to
        keys, values = self._machine.cache.widths
        has = [(keys, to.keys), (values, to["values"])]
        if self._machine.gated:
            function = self.i.instruction.function
            has = [
                (precision.unrotated, function == Function.ROTATE),
                (SILU_BITS, function == Function.SILU),
                (values, to["values"]),
            ]
        widths = tuple(dict.fromkeys(width for width, _ in has))
        return widths, Cat(
            reduce(or_, (flag for width, flag in has if width == chosen)) for chosen in widths
        )

    def _scales(self, m: Module) -> list:
        """Mantissa and exponent for each writer."""
        machine = self._machine
        scales = []
        for i in range(machine.writers):
            scale = Signal(Scale, name=f"scale_{i}")
            head = Signal(range(max(2, machine.heads)), name=f"head_{i}")
            m.d.comb += head.eq(remainder(self.i.index + i, machine.heads))
            with m.Switch(self.i.instruction.scale):
                with m.Case(ScaleOf.NORM):
                    # A gated machine takes it a cycle later.
                    m.d.comb += scale.eq(0 if machine.gated else self.norm)
                with m.Case(ScaleOf.SUM):
                    m.d.comb += scale.eq(self.reciprocals[head])
                with m.Case(ScaleOf.TEMPERATURE):
                    m.d.comb += [
                        scale.mantissa.eq(self.temperature.mantissa),
                        scale.exponent.eq(self.temperature.shift),
                    ]
                with m.Default():
                    m.d.comb += scale.mantissa.eq(UNIT_MANTISSA)
            scales.append(scale)
        return scales
