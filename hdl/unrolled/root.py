"""The norm of the residual."""

from collections.abc import Callable

import numpy as np
from amaranth.hdl import Array, Cat, Const, Module, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gptloom.hdl.attributes import KEEP
from gptloom.hdl.delay import late
from gptloom.model.arithmetic import round_shift
from gptloom.model.merged.integer import MergedModel
from gptloom.model.tables import RSQRT_TABLE, RSQRT_WINDOW_BITS, SQRT_TABLE

NIBBLE = 4
RESIDUAL_BITS = 2 * NIBBLE

LEVELS = 3
"""Additions in series within a cycle."""

LOOKUP_LEVELS = 2
"""Delay of looking up the root of a sum, in additions."""


class Root(wiring.Component):
    """The root of the sum of squares, S: half of the factor that brings logits to their scale.

    An element is ``16 h + l``, so its square is ``256 h**2 + l**2 + 32 h l``. The first two terms
    stand side by side in one word, each from a table addressed by four bits; ``h l`` is the sum of
    two words, each from a table addressed by h and two bits of l. Both kinds are summed separately,
    and S is looked up by bits of the total, see :func:`by_leading_pair`.

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
        The network: its width and shifts.
    layer
        Index of the layer.

    Attributes
    ----------
    latency
        Cycles from `valid` to `o_valid`: 3 for up to 32 elements.
    valid : In(1)
        `i` is valid.
    i : In(signed 8) of every element
        The residual.
    o : Out(unsigned)
        S; held until the next.
    inverse : Out(unsigned)
        Factor by which the next layer, if there is one, multiplies x; held as S is.
    o_valid : Out(1)
        `o` and `inverse` are valid.
    """

    def __init__(self, model: MergedModel, layer: int):
        width = model.config.width
        if model.widths.residual != RESIDUAL_BITS:
            raise ValueError(
                f"a residual of {model.widths.residual} bits: only {RESIDUAL_BITS} are possible"
            )
        self._shift, bits = model.layers[layer].shifts["root"], model.widths.root
        following = model.layers[layer + 1 :]
        self._inverse_shift = following[0].shifts["inverse"] if following else None
        # One level to add the words of h * l, `_depth` for all elements, one for both sums.
        self._depth = (width - 1).bit_length()
        levels = self._depth + 2
        self._apart = levels % LEVELS == 0 or levels % LEVELS + LOOKUP_LEVELS > LEVELS
        self.latency = (levels - 1) // LEVELS + 1 + self._apart
        super().__init__(
            {
                "valid": In(1),
                "i": In(signed(RESIDUAL_BITS)).array(width),
                "o": Out(bits),
                **({"inverse": Out(bits)} if following else {}),
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
            m.d.sync += self.o.eq(
                by_leading_pair(
                    total, len(self.o), lambda k: round_shift(SQRT_TABLE << k, self._shift)
                )
            )
            if self._inverse_shift is not None:
                m.d.sync += self.inverse.eq(inverse_root(total, len(self.o), self._inverse_shift))
        m.d.comb += self.o_valid.eq(late(m, self.valid, self.latency))
        return m

    @property
    def _total_bits(self) -> int:
        return (len(self.i) << 2 * (RESIDUAL_BITS - 1)).bit_length()

    def _sum(self, m: Module, words: list[Value]) -> Value:
        """Add up words that are outputs of the first level."""
        level = 1
        while len(words) > 1:
            if level % LEVELS == 0:
                words = [late(m, word) for word in words]
            pairs = zip(words[::2], words[1::2], strict=False)
            words = [_kept(m, one + other) for one, other in pairs] + words[len(words) & ~1 :]
            level += 1
        return words[0]


def by_leading_pair(total: Value, bits: int, entries_of: Callable[[int], np.ndarray]) -> Value:
    """Look up a function of an unsigned value, addressed by a few bits from its leading pair on.

    There is a table for every position of the leading pair, with its words already shifted. A
    table's words are 0 where the pair itself is 0, so tables above the leading pair contribute
    nothing; only tables below it have to be masked.

    Parameters
    ----------
    total
        The value.
    bits
        Width of the result, which saturates.
    entries_of
        Returns, for a pair's number, the function's values by the window of
        :data:`.tables.RSQRT_WINDOW_BITS`.
    """
    padded = Cat(Const(0, RSQRT_WINDOW_BITS - 2), total, Const(0, 1))
    found = Const(0, bits)
    for pair in range(-(-len(total) // 2)):
        entries = entries_of(pair).clip(max=(1 << bits) - 1)
        if pair:
            # Another pair leads if the first two bits of the window are 0.
            entries[: 1 << RSQRT_WINDOW_BITS - 2] = 0
        window = padded[2 * pair :][:RSQRT_WINDOW_BITS]
        leads = ~total[2 * pair + 2 :].any()
        found |= _look_up(entries.tolist(), window, bits) & leads.replicate(bits)
    return found


def inverse_root(total: Value, bits: int, shift: int) -> Value:
    """Return ``total**-0.5``, as defined for the sites ``scale`` and ``inverse``."""
    return by_leading_pair(total, bits, lambda k: round_shift(RSQRT_TABLE << shift, k))


def _kept(m: Module, value: Value) -> Signal:
    signal = Signal.like(value, name="sum", attrs=KEEP)
    m.d.comb += signal.eq(value)
    return signal


def _look_up(entries: list[int], index: Value, bits: int) -> Value:
    return Array(Const(entry, bits) for entry in entries)[index]


def _square(nibble: Value) -> Value:
    """Return the square of a signed or unsigned nibble."""
    numbers = [i - (i >> NIBBLE - 1 << NIBBLE) if nibble.shape().signed else i for i in range(16)]
    return _look_up([number**2 for number in numbers], nibble.as_unsigned(), 2 * NIBBLE)


def _product(pair: Value, high: Value) -> Value:
    """Return the product of an unsigned 2-bit value and a signed nibble."""
    entries = [pair * (high - (high >> 3 << 4)) for high in range(16) for pair in range(4)]
    return Array(Const(e, signed(NIBBLE + 2)) for e in entries)[Cat(pair, high)]
