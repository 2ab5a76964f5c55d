"""Noise that makes the largest logit a sample (Gumbel-max), some logits of a token per cycle."""

from functools import reduce
from operator import xor

from amaranth.hdl import Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from gptloom.hdl.attributes import BLOCK_RAM, LOADED
from gptloom.hdl.delay import late
from gptloom.hdl.multipliers import Multiplier
from gptloom.model.arithmetic import MANTISSA_BITS
from gptloom.model.integer import MAX_TEMPERATURE, MIN_TEMPERATURE
from gptloom.model.merged.integer import MergedModel
from gptloom.model.sampling import SEED_BITS, xorshift32
from gptloom.model.tables import NOISE_BITS, NOISE_INDEX_BITS, NOISE_TABLE

READ_PORTS = 2
"""Read ports of a block RAM, so values looked up in one table per cycle."""


def successor(steps: int) -> list[int]:
    """Return a later xorshift state as a function of the bits of the present one.

    Every step is linear over GF(2), so each bit of the result is a parity.

    Parameters
    ----------
    steps
        Steps between the two states, 0 or more.

    Returns
    -------
    list of int
        For each bit of the result, lowest first, a mask of the bits whose parity it is.
    """
    masks = [0] * SEED_BITS
    for i in range(SEED_BITS):
        state = 1 << i
        for _ in range(steps):
            state = xorshift32(state)
        for k in range(SEED_BITS):
            masks[k] |= (state >> k & 1) << i
    return masks


def _parity(value: Value, mask: int) -> Value:
    return reduce(xor, (value[i] for i in range(len(value)) if mask >> i & 1))


class Noise(wiring.Component):
    """Prepares scaled noise for every logit of a token: successive draws of its stream.

    Tokens are at least `beats` cycles apart; `values_per_cycle` of a token's values are looked up
    and scaled in a cycle.

    Equals :func:`gptloom.model.sampling.noise` and
    :meth:`gptloom.model.merged.golden.GoldenModel.scaled_noise`. A token followed by one of the
    prompt draws nothing: the user of this component keeps the stored state and gives a mantissa of
    0.

    Parameters
    ----------
    model
        The network whose units the noise has.
    values_per_cycle
        Values computed per cycle, from 1 up to the vocabulary.
    multiplier
        Class of the multipliers.

    Attributes
    ----------
    beats
        Cycles per token: ``ceil(vocabulary / values_per_cycle)``.
    latency
        Cycles from `valid` to the first beat's noise, 6: state, table, two in the multiplier, its
        output, rounding.
    least_shift
        Shift of the highest temperature.
    valid : In(1)
        A token comes.
    state : In(32)
        State of its stream's generator.
    mantissa : In(unsigned 9)
        Mantissa of :class:`.merged.integer.NoiseScale`; 0 makes all noise 0.
    shift : In
        Shift of the same, less `least_shift`.
    next_state : Out(32)
        Generator's state for the stream's next token, one cycle after `valid`.
    o : Out(signed, ``noise`` of :meth:`.MergedModel.bits`) of every lane
        Noise of a beat; the first beats have the first tokens of the vocabulary.
    """

    latency = 6

    def __init__(
        self, model: MergedModel, values_per_cycle: int, multiplier: type[Multiplier] = Multiplier
    ):
        vocabulary = model.config.vocabulary
        if not 1 <= values_per_cycle <= vocabulary:
            raise ValueError(f"{values_per_cycle} values a cycle: choose 1 to {vocabulary}")
        self._lanes, self._vocabulary = values_per_cycle, vocabulary
        self._multiplier = multiplier
        self.beats = -(-vocabulary // values_per_cycle)
        self.least_shift = model.noise_scale(MAX_TEMPERATURE).shift
        shifts = model.noise_scale(MIN_TEMPERATURE).shift + 1 - self.least_shift
        super().__init__(
            {
                "valid": In(1),
                "state": In(SEED_BITS),
                "mantissa": In(MANTISSA_BITS),
                "shift": In(range(shifts)),
                "next_state": Out(SEED_BITS),
                "o": Out(signed(model.bits()[-1]["noise"])).array(values_per_cycle),
            }
        )

    def elaborate(self, platform):
        m = Module()
        state = Signal(SEED_BITS, **LOADED)
        mantissa, shift = Signal.like(self.mantissa), Signal.like(self.shift)
        for i, (new, beat) in enumerate(
            zip(successor(self._vocabulary), successor(self._lanes), strict=True)
        ):
            m.d.sync += [
                self.next_state[i].eq(_parity(self.state, new)),
                state[i].eq(Mux(self.valid, self.state[i], _parity(state, beat))),
            ]
        with m.If(self.valid):
            m.d.sync += [mantissa.eq(self.mantissa), shift.eq(self.shift)]
        mantissa, shift = late(m, mantissa), late(m, shift, 4)

        for lane in range(self._lanes):
            if lane % READ_PORTS == 0:
                table = Memory(
                    shape=signed(NOISE_BITS),
                    depth=1 << NOISE_INDEX_BITS,
                    init=NOISE_TABLE.tolist(),
                    attrs=BLOCK_RAM,
                )
                m.submodules[f"table_{lane // READ_PORTS}"] = table
            port = table.read_port()
            masks = successor(lane + 1)[-NOISE_INDEX_BITS:]
            for i, mask in enumerate(masks):
                m.d.comb += port.addr[i].eq(_parity(state, mask))
            multiplier = self._multiplier(unsigned(MANTISSA_BITS), signed(NOISE_BITS))
            m.submodules[f"multiplier_{lane}"] = multiplier
            m.d.comb += [multiplier.a.eq(mantissa), multiplier.b.eq(port.data)]
            product = late(m, multiplier.o)
            # One fraction bit, a half, is left for rounding.
            halves = (product >> (self.least_shift - 1)) >> shift
            m.d.sync += self.o[lane].eq((halves + 1) >> 1)
        return m
