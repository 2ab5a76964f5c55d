"""What is added to a layer's last product."""

from amaranth.hdl import Const, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gptloom.hdl.arithmetic import rounded
from gptloom.hdl.attributes import LOADED
from gptloom.hdl.delay import late
from gptloom.model.merged.integer import MergedModel


class Offset(wiring.Component):
    """What is added to the last product: ``(direct + noise) * S >> offset``.

    Parameters
    ----------
    model
        Its widths and shifts.
    layer
        Whose offset; only the last one's has noise.
    values_per_cycle
        Multipliers: a beat is what they compute in a cycle, 1 value up to all outputs.

    Attributes
    ----------
    beats
        Cycles of a token: ``ceil(outputs / values_per_cycle)``.
    latency
        From S to `o`: ``beats + AFTER_BEATS`` cycles. Product, rounding, and one for every beat
        after the first.
    valid : In(1)
        Direct and the first beat's noise are here; S comes in the next cycle.
    direct : In(signed, ``direct`` of :class:`.Widths`) of every output
        With `valid` only.
    noise : In(signed, ``noise`` of :meth:`.MergedModel.bits`) of every output of a beat
        Beat after beat, the first with `valid`; of the last layer.
    root : In(unsigned)
        S, as :class:`Root` has it; it stays for all beats.
    o : Out(signed, ``offset`` of :meth:`.MergedModel.bits`) of every output
        In this cycle only.
    """

    AFTER_BEATS = 1

    def __init__(self, model: MergedModel, layer: int, values_per_cycle: int):
        constants, bits = model.layers[layer], model.bits()[layer]
        self._shift, self._lanes = constants.shifts["offset"], values_per_cycle
        self._is_last = layer == len(model.layers) - 1
        outputs = len(constants.weights["b"])
        self.beats = -(-outputs // values_per_cycle)
        self.latency = self.beats + self.AFTER_BEATS
        noise = {}
        if self._is_last:
            noise["noise"] = In(signed(bits["noise"])).array(values_per_cycle)
        super().__init__(
            {
                "valid": In(1),
                "direct": In(signed(model.widths.direct)).array(outputs),
                **noise,
                "root": In(model.widths.root),
                "o": Out(signed(bits["offset"])).array(outputs),
            }
        )

    def elaborate(self, platform):
        m = Module()
        now = [late(m, self.valid, beat) for beat in range(self.beats)]
        for lane in range(self._lanes):
            numbers = range(lane, len(self.o), self._lanes)
            direct = Const(0, len(self.direct[0]))
            for beat, number in enumerate(numbers):
                value = late(m, self.direct[number], beat)
                direct |= value.as_unsigned() & now[beat].replicate(len(value))
            sum_ = direct.as_signed()
            if self._is_last:
                sum_ = sum_ + self.noise[lane]
            term = Signal.like(sum_, name=f"term_{lane}", **LOADED)
            product = Signal.like(term * self.root, name="product", **LOADED)
            offset = Signal.like(self.o[0], name=f"offset_{lane}", **LOADED)
            m.d.sync += [
                term.eq(sum_),
                product.eq(term * self.root),
                offset.eq(rounded(product, self._shift)),
            ]
            for beat, number in enumerate(numbers):
                m.d.comb += self.o[number].eq(late(m, offset, self.beats - 1 - beat))
        return m
