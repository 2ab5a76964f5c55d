"""The offset added to a layer's last product."""

from amaranth.hdl import Const, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gptloom.hdl.arithmetic import rounded
from gptloom.hdl.attributes import LOADED
from gptloom.hdl.delay import late
from gptloom.model.merged.integer import MergedModel


class Offset(wiring.Component):
    """Computes the offset for the last product: ``(direct + noise) * S >> offset``.

    Parameters
    ----------
    model
        The network: its widths and shifts.
    layer
        Index of the layer; only the last one has noise.
    values_per_cycle
        Multipliers, 1 up to one for each output. A beat is the values they compute in a cycle.

    Attributes
    ----------
    beats
        Cycles per token: ``ceil(outputs / values_per_cycle)``.
    latency
        Cycles from S to `o`: ``beats + AFTER_BEATS``. Product, rounding, and one for every beat
        after the first.
    valid : In(1)
        `direct` and the first beat's noise are valid; S comes in the next cycle.
    direct : In(signed, ``direct`` of :class:`.Widths`) of every output
        Direct part, with `valid` only.
    noise : In(signed, ``noise`` of :meth:`.MergedModel.bits`) of every output of a beat
        Noise, beat after beat, the first with `valid`; in the last layer only.
    root : In(unsigned)
        S, as :class:`Root` has it; held for all beats.
    o : Out(signed, ``offset`` of :meth:`.MergedModel.bits`) of every output
        The offsets, for one cycle only.
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
