"""The norm of the residual, and what is added to the last product."""

from amaranth.hdl import Array, Cat, Const, Module, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gptloom.hdl.arithmetic import rounded
from gptloom.hdl.attributes import KEEP, LOADED
from gptloom.hdl.delay import late
from gptloom.model.arithmetic import round_shift
from gptloom.model.merged.integer import MergedModel
from gptloom.model.tables import RSQRT_WINDOW_BITS, SQRT_TABLE

NIBBLE = 4
RESIDUAL_BITS = 2 * NIBBLE

LEVELS = 3
"""Additions that follow each other within a cycle."""

LOOKUP_LEVELS = 2
"""As many additions take the time of finding the root of a sum."""


class Root(wiring.Component):
    """The root of the sum of squares, S: half of what brings logits to their scale.

    An element is ``16 h + l``, so its square is ``256 h**2 + l**2 + 32 h l``. The first two stand
    side by side in one word, each a table of four bits; of ``h l`` there are two words, tables of
    h and of two bits of l each. They are added up apart, and S is looked up in tables of the sum's
    bits: one for every place that the leading pair may have, rounded and cut off already. Its words
    are 0 where the pair is, so that those in whose place nothing leads just add nothing; what is
    left to do is to close those below the leading pair.

    =====  ======================================  =============================================
    cycle  16 elements                             17 to 32 elements
    =====  ======================================  =============================================
    1      tables, h l, 16 sums become 4           tables, h l, up to 32 sums become 8
    2      4 become 1, and both sums one           8 become 1
    3      root                                    both sums become one, root
    =====  ======================================  =============================================

    Parameters
    ----------
    model
        Its width, and the shift of its last layer.

    Attributes
    ----------
    latency
        From `valid` to `o_valid`: 3 cycles up to 32 elements.
    valid : In(1)
        Elements come.
    i : In(signed 8) of every element
        The residual.
    o : Out(unsigned)
        S; it stays until the next.
    o_valid : Out(1)
        There is one.
    """

    def __init__(self, model: MergedModel):
        width = model.config.width
        if model.widths.residual != RESIDUAL_BITS:
            raise ValueError(
                f"a residual of {model.widths.residual} bits: only {RESIDUAL_BITS} are possible"
            )
        self._shift, self._bits = model.layers[-1].shifts["root"], model.widths.root
        # The words of h * l become one, those of all elements one, and both sums one.
        self._depth = (width - 1).bit_length()
        levels = self._depth + 2
        self._apart = levels % LEVELS == 0 or levels % LEVELS + LOOKUP_LEVELS > LEVELS
        self.latency = (levels - 1) // LEVELS + 1 + self._apart
        super().__init__(
            {
                "valid": In(1),
                "i": In(signed(RESIDUAL_BITS)).array(width),
                "o": Out(self._bits),
                "o_valid": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        squares, crosses = [], []
        for element in self.i:
            low, high = element[:NIBBLE], element[NIBBLE:].as_signed()
            squares.append(Cat(_square(low), _square(high)))
            lower, upper = (_product(low[i : i + 2], high) for i in (0, 2))
            crosses.append(_kept(m, lower + (upper << 2)))
        square, cross = self._sum(m, squares), self._sum(m, crosses)
        if (self._depth + 1) % LEVELS == 0:
            square, cross = late(m, square), late(m, cross)
        total = _kept(m, (square + (cross << (NIBBLE + 1)))[: self._total_bits])
        if self._apart:
            total = late(m, total)
        with m.If(late(m, self.valid, self.latency - 1)):
            m.d.sync += self.o.eq(self._root(m, total))
        m.d.comb += self.o_valid.eq(late(m, self.valid, self.latency))
        return m

    @property
    def _total_bits(self) -> int:
        return (len(self.i) << 2 * (RESIDUAL_BITS - 1)).bit_length()

    def _sum(self, m: Module, words: list[Value]) -> Value:
        """Add up words that come after the first level."""
        level = 1
        while len(words) > 1:
            if level % LEVELS == 0:
                words = [late(m, word) for word in words]
            pairs = zip(words[::2], words[1::2], strict=False)
            words = [_kept(m, one + other) for one, other in pairs] + words[len(words) & ~1 :]
            level += 1
        return words[0]

    def _root(self, m: Module, total: Value) -> Value:
        """Look S up."""
        limit, bits = (1 << self._bits) - 1, len(self.o)
        padded = Cat(Const(0, RSQRT_WINDOW_BITS - 2), total, Const(0, 1))
        root = Const(0, bits)
        for exponent in range(-(-len(total) // 2)):
            entries = round_shift(SQRT_TABLE << exponent, self._shift).clip(max=limit)
            if exponent:
                # Another pair leads where the first two bits of the window are 0.
                entries[: 1 << RSQRT_WINDOW_BITS - 2] = 0
            window = padded[2 * exponent :][:RSQRT_WINDOW_BITS]
            leads = ~total[2 * exponent + 2 :].any()
            root |= _look_up(entries.tolist(), window, bits) & leads.replicate(bits)
        return root


def _kept(m: Module, value: Value) -> Signal:
    signal = Signal.like(value, name="sum", attrs=KEEP)
    m.d.comb += signal.eq(value)
    return signal


def _look_up(entries: list[int], index: Value, bits: int) -> Value:
    return Array(Const(entry, bits) for entry in entries)[index]


def _square(nibble: Value) -> Value:
    """Return the square of a nibble, signed or not."""
    numbers = [i - (i >> NIBBLE - 1 << NIBBLE) if nibble.shape().signed else i for i in range(16)]
    return _look_up([number**2 for number in numbers], nibble.as_unsigned(), 2 * NIBBLE)


def _product(pair: Value, high: Value) -> Value:
    """Return the product of an unsigned value of two bits and a signed nibble."""
    entries = [pair * (high - (high >> 3 << 4)) for high in range(16) for pair in range(4)]
    return Array(Const(e, signed(NIBBLE + 2)) for e in entries)[Cat(pair, high)]


class Offset(wiring.Component):
    """What is added to the last product: ``(direct + noise) * S >> offset``.

    Parameters
    ----------
    model
        Its widths, and the shift of its last layer.
    values_per_cycle
        Multipliers: a beat is what they compute in a cycle, 1 value up to the vocabulary.

    Attributes
    ----------
    beats
        Cycles of a token: ``ceil(vocabulary / values_per_cycle)``.
    latency
        From S to `o`: ``beats + AFTER_BEATS`` cycles. Product, rounding, and one for every beat
        after the first.
    valid : In(1)
        Direct and the first beat's noise are here; S comes in the next cycle.
    direct : In(signed, ``direct`` of :class:`.Widths`) of every token
        With `valid` only.
    noise : In(signed, ``noise`` of :meth:`.MergedModel.bits`) of every token of a beat
        Beat after beat, the first with `valid`.
    root : In(unsigned)
        S, as :class:`Root` has it; it stays for all beats.
    o : Out(signed, ``offset`` of :meth:`.MergedModel.bits`) of every token
        In this cycle only.
    """

    AFTER_BEATS = 1

    def __init__(self, model: MergedModel, values_per_cycle: int):
        bits = model.bits()[-1]
        self._shift = model.layers[-1].shifts["offset"]
        vocabulary = model.config.vocabulary
        self.beats = -(-vocabulary // values_per_cycle)
        self.latency = self.beats + self.AFTER_BEATS
        super().__init__(
            {
                "valid": In(1),
                "direct": In(signed(model.widths.direct)).array(vocabulary),
                "noise": In(signed(bits["noise"])).array(values_per_cycle),
                "root": In(model.widths.root),
                "o": Out(signed(bits["offset"])).array(vocabulary),
            }
        )

    def elaborate(self, platform):
        m = Module()
        lanes = len(self.noise)
        now = [late(m, self.valid, beat) for beat in range(self.beats)]
        for lane, noise in enumerate(self.noise):
            direct = Const(0, len(self.direct[0]))
            for beat, number in enumerate(range(lane, len(self.o), lanes)):
                value = late(m, self.direct[number], beat)
                direct |= value.as_unsigned() & now[beat].replicate(len(value))
            term = Signal.like(self.direct[0] + noise, name=f"term_{lane}", **LOADED)
            product = Signal.like(term * self.root, name="product", **LOADED)
            offset = Signal.like(self.o[0], name=f"offset_{lane}", **LOADED)
            m.d.sync += [
                term.eq(direct.as_signed() + noise),
                product.eq(term * self.root),
                offset.eq(rounded(product, self._shift)),
            ]
            for beat, number in enumerate(range(lane, len(self.o), lanes)):
                m.d.comb += self.o[number].eq(late(m, offset, self.beats - 1 - beat))
        return m
