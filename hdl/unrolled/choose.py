"""The next token: the one with the largest noisy logit."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gptloom.hdl.arithmetic import less
from gptloom.hdl.attributes import LOADED
from gptloom.hdl.delay import late
from gptloom.model.merged.integer import MergedModel

Candidate = tuple[Value, Value]
"""A noisy logit, and its token."""

GROUP = 4
"""Noisy logits compared in one cycle, of which one is chosen."""


class Choose(wiring.Component):
    """Adds offsets to the last product, and finds the first of the largest sums.

    The product arrives unrounded, and is rounded in the addition: half a unit is placed below the
    offset. Then each cycle chooses one of four sums. Each of the first two is compared with each of
    the last two at the same time as the two pairs are decided: six comparisons instead of three, in
    little more than the time of one instead of two.

    Parameters
    ----------
    model
        The network: its vocabulary, widths and the shift of its last layer.

    Attributes
    ----------
    latency
        Cycles from `valid` to `o_valid`: one for the addition, and one for each round of choosing
        one of four: 4 for 27 tokens.
    valid : In(1)
        Product and offset are valid.
    product : In(signed, ``b`` of :meth:`.MergedModel.bits`) of every token
        B u, before rounding.
    offset : In(signed, ``offset`` of :meth:`.MergedModel.bits`) of every token
        See :class:`.Offset`.
    token : Out
        The token, for one cycle only.
    o_valid : Out(1)
        `token` is valid.
    """

    def __init__(self, model: MergedModel):
        self._shift, bits = model.layers[-1].shifts["product"], model.bits()[-1]
        self._bits = bits["noisy"]
        vocabulary = count = model.config.vocabulary
        self.latency = 1
        while count > 1:
            count, self.latency = -(-count // GROUP), self.latency + 1
        super().__init__(
            {
                "valid": In(1),
                "product": In(signed(bits["b"])).array(vocabulary),
                "offset": In(signed(bits["offset"])).array(vocabulary),
                "token": Out(range(vocabulary)),
                "o_valid": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        candidates = []
        half = Const(1 << self._shift >> 1, self._shift)
        for token, (product, offset) in enumerate(zip(self.product, self.offset, strict=True)):
            noisy = Signal(signed(self._bits), name=f"noisy_{token}", **LOADED)
            m.d.sync += noisy.eq((product + Cat(half, offset).as_signed()) >> self._shift)
            candidates.append((noisy, Const(token, len(self.token))))
        while len(candidates) > GROUP:
            groups = [candidates[i : i + GROUP] for i in range(0, len(candidates), GROUP)]
            candidates = [_registered(m, *_first_of_largest(m, group)) for group in groups]
        m.d.sync += self.token.eq(_first_of_largest(m, candidates)[1])
        m.d.comb += self.o_valid.eq(late(m, self.valid, self.latency))
        return m


def _registered(m: Module, noisy: Value, token: Value) -> Candidate:
    registers = (
        Signal.like(noisy, name="noisy", **LOADED),
        Signal.like(token, name="number", **LOADED),
    )
    m.d.sync += [registers[0].eq(noisy), registers[1].eq(token)]
    return registers


def _either(m: Module, second: Value, one: Candidate, other: Candidate) -> Candidate:
    """Return the first candidate, or the other if `second` is set."""
    noisy, token = Signal.like(one[0], name="largest"), Signal.like(one[1], name="number")
    m.d.comb += [noisy.eq(Mux(second, other[0], one[0])), token.eq(Mux(second, other[1], one[1]))]
    return noisy, token


def _first_of_largest(m: Module, group: list[Candidate]) -> Candidate:
    """Return the largest of up to four candidates; among equals the first, with the lowest token.

    Each of two pairs has a winner. The comparison of the winners is selected from those of all
    combinations, which are made beforehand.
    """
    pairs = [group[i : i + 2] for i in range(0, len(group), 2)]
    seconds = [less(pair[0][0], pair[1][0]) if pair[1:] else Const(0, 1) for pair in pairs]
    winners = [
        _either(m, second, *pair) if pair[1:] else pair[0]
        for second, pair in zip(seconds, pairs, strict=True)
    ]
    if len(pairs) == 1:
        return winners[0]
    columns = [
        [less(one[0], other[0]) for one in pairs[0]] + [Const(0, 1)] * (2 - len(pairs[0]))
        for other in pairs[1]
    ]
    chosen = [Mux(seconds[0], column[1], column[0]) for column in columns]
    larger = Mux(seconds[1], chosen[-1], chosen[0])
    return _either(m, larger, *winners)
