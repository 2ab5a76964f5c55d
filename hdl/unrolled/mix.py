"""The mix of values: their weighted sums, divided by the sum of the weights."""

from amaranth.hdl import Array, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gptloom.hdl.arithmetic import leading_one, rounded, saturated
from gptloom.hdl.attributes import LOADED
from gptloom.hdl.delay import late
from gptloom.hdl.multipliers import Multiplier
from gptloom.model.arithmetic import MANTISSA_BITS
from gptloom.model.merged.integer import LEAST_EXPONENT, NUMERATOR_BITS, MergedModel
from gptloom.model.tables import RECIPROCAL_INDEX_BITS, RECIPROCAL_TABLE


class Mix(wiring.Component):
    """Divides weighted sums by their denominators, some heads per cycle.

    Parameters
    ----------
    model
        The network: its dimensions, width of activations, and shifts.
    layer
        Index of the layer.
    heads_per_cycle
        Heads mixed in a cycle, a divisor of the number of heads. Each takes as many multipliers as
        a head has elements.
    multiplier
        Class of the multipliers.

    Attributes
    ----------
    beats
        Cycles per token.
    latency
        Cycles from `valid` to `o`: 3, and one for every beat after the first.
    valid : In(1)
        `total` is valid; `weighted` is a cycle later.
    total : In(unsigned) of every head
        Sums of numerators: at least 255.
    weighted : In(signed) of every element
        Sums of values times their numerators.
    o : Out(signed) of every element
        The mix, for one cycle only, unregistered.
    """

    @staticmethod
    def latency_of(heads: int, heads_per_cycle: int) -> int:
        """Return the latency."""
        return 2 + heads // heads_per_cycle

    def __init__(
        self,
        model: MergedModel,
        layer: int,
        heads_per_cycle: int,
        multiplier: type[Multiplier] = Multiplier,
    ):
        config = model.config
        self._multiplier = multiplier
        self._shift, self._head_width = model.layers[layer].shifts["mix"], config.head_width
        self._lanes, self.beats = heads_per_cycle, config.heads // heads_per_cycle
        self.latency = self.latency_of(config.heads, heads_per_cycle)
        # Width of a weighted sum after the shift by its denominator's exponent.
        self._scaled = NUMERATOR_BITS + model.widths.values
        more = (config.context - 1).bit_length()
        super().__init__(
            {
                "valid": In(1),
                "total": In(unsigned(NUMERATOR_BITS + more)).array(config.heads),
                "weighted": In(signed(self._scaled + more)).array(config.width),
                "o": Out(signed(model.widths.activations)).array(config.width),
            }
        )

    def elaborate(self, platform):
        m = Module()
        totals = self._beat_by_beat(m, self.total, self.valid)
        sums = self._beat_by_beat(m, self.weighted, late(m, self.valid))
        table = Array(Const(int(entry), MANTISSA_BITS) for entry in RECIPROCAL_TABLE)
        mixed = []
        for lane, total in enumerate(totals):
            above = leading_one(m, total[LEAST_EXPONENT:])
            exponent = late(m, above)
            index = Signal(RECIPROCAL_INDEX_BITS, name=f"index_{lane}", **LOADED)
            m.d.sync += index.eq(total[LEAST_EXPONENT - RECIPROCAL_INDEX_BITS :] >> above)
            for i, value in enumerate(sums[lane * self._head_width :][: self._head_width]):
                multiplier = self._multiplier(unsigned(MANTISSA_BITS), signed(self._scaled))
                m.submodules[f"multiplier_{lane}_{i}"] = multiplier
                m.d.comb += [
                    multiplier.a.eq(table[index]),
                    multiplier.b.eq((value >> exponent)[: self._scaled]),
                ]
                mixed.append(saturated(rounded(multiplier.o, self._shift), len(self.o[0])))
        for beat in range(self.beats):
            for i, value in enumerate(mixed):
                o = self.o[beat * len(mixed) + i]
                m.d.comb += o.eq(late(m, value, self.beats - 1 - beat))
        return m

    def _beat_by_beat(self, m: Module, values, valid: Value) -> list[Value]:
        """Return the first beat's values with `valid`, and the others' in the cycles after it."""
        count = len(values) // self.beats
        found = []
        for i in range(count):
            following = Const(0, values[i].shape())
            for value in reversed(values[i + count :: count]):
                waiting = Signal.like(value, name="waiting", **LOADED)
                m.d.sync += waiting.eq(Mux(valid, value, following))
                following = waiting
            found.append(Mux(valid, values[i], following) if self.beats > 1 else values[i])
        return found
