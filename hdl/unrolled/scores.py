"""A query's products with the keys of several positions."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gptloom.hdl.arithmetic import rounded, saturated
from gptloom.hdl.attributes import LOADED
from gptloom.hdl.delay import late
from gptloom.hdl.multipliers import Multiplier
from gptloom.hdl.unrolled.rows import farthest
from gptloom.hdl.unrolled.trees import added, reduced
from gptloom.model.arithmetic import SCORE_FRACTION
from gptloom.model.config import ModelConfig
from gptloom.model.merged.integer import SCORE_BITS
from gptloom.model.positions import Positions, slope_shifts

LEAST = -(1 << SCORE_BITS - 1)
"""Score of a position that is not seen: the least possible."""


class Scores(wiring.Component):
    """Scores of a query, for each head and each position of a beat.

    The score with the token's own key is an input, so that no key has to bypass the cache. ALiBi's
    penalty is a shifted distance; it is subtracted together with the rounding, in the same carry
    chain.

    Parameters
    ----------
    config
        Configuration of the model.
    shift
        Shift of the site ``score``.
    query_bits, key_bits
        Widths of an element of the query, and of a key.
    multipliers
        Classes of the multipliers, one for each element of each position of a beat.

    Attributes
    ----------
    latency
        Cycles from inputs to `o`, 4: two in the multipliers, sum, rounding. A beat may come in
        every cycle.
    q : In(signed) of every element
        The query.
    k : In(signed) of every position and element
        The keys.
    own : In(signed 10) of every head
        Score of the query with the key of its own position, ``latency - 1`` cycles later than all
        other inputs.
    seen, is_own : In(1) of every position
        The position counts; it is the query's own.
    distance : In of every position
        Distance of the position's token, with ALiBi only.
    o : Out(signed 10) of every position and head
        Scores; ``LEAST`` for positions that do not count.
    """

    latency = Multiplier.latency + 2

    def __init__(
        self,
        config: ModelConfig,
        shift: int,
        query_bits: int,
        key_bits: int,
        multipliers: Sequence[type[Multiplier]],
    ):
        self._shift, self._multipliers = shift, multipliers
        self._alibi = config.positions is Positions.ALIBI
        width, heads = config.width, config.heads
        positions = len(multipliers) // width
        distances = {"distance": In(range(farthest(config) + 1)).array(positions)}
        super().__init__(
            {
                "q": In(signed(query_bits)).array(width),
                "k": In(signed(key_bits)).array(positions, width),
                "own": In(signed(SCORE_BITS)).array(heads),
                "seen": In(1).array(positions),
                "is_own": In(1).array(positions),
                "o": Out(signed(SCORE_BITS)).array(positions, heads),
                **(distances if self._alibi else {}),
            }
        )

    def elaborate(self, platform):
        m = Module()
        heads = len(self.own)
        size, octaves = len(self.q) // heads, slope_shifts(heads).tolist()
        for place, (keys, scores) in enumerate(zip(self.k, self.o, strict=True)):
            seen, is_own = (
                late(m, flags[place], self.latency - 1) for flags in (self.seen, self.is_own)
            )
            if self._alibi:
                nearer = late(m, -self.distance[place], self.latency - 1)
            for head, score in enumerate(scores):
                products = []
                for i in range(head * size, (head + 1) * size):
                    multiplier = self._multipliers[place * len(self.q) + i](
                        keys[i].shape(), self.q[i].shape()
                    )
                    m.submodules[f"multiplier_{place}_{i}"] = multiplier
                    m.d.comb += [multiplier.a.eq(keys[i]), multiplier.b.eq(self.q[i])]
                    products.append(multiplier.o)
                total = reduced(products, added)
                dot = Signal.like(total, name="dot", **LOADED)
                if self._alibi:
                    other = self._less(dot, nearer, octaves[head])
                else:
                    other = saturated(rounded(dot, self._shift), SCORE_BITS)
                m.d.sync += [
                    dot.eq(total),
                    score.eq(Mux(is_own, self.own[head], Mux(seen, other, LEAST))),
                ]
        return m

    def _less(self, dot: Value, nearer: Value, octaves: int) -> Value:
        """Return a rounded score less :func:`.positions.penalty`; `nearer` is minus a distance."""
        half = Const(1 << self._shift >> 1, self._shift + SCORE_FRACTION + octaves)
        return saturated((dot + Cat(half, nearer).as_signed()) >> self._shift, SCORE_BITS)
