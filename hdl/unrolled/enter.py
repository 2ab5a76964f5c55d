"""From the outputs of a layer to the inputs of the next."""

from collections.abc import Callable, Sequence

from amaranth.hdl import Cat, Const, Module, Signal, Value, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gptloom.hdl.arithmetic import rounded, saturated
from gptloom.hdl.attributes import LOADED
from gptloom.hdl.delay import late
from gptloom.hdl.multipliers import Multiplier
from gptloom.hdl.unrolled.attention import Attention
from gptloom.hdl.unrolled.dense import Dense
from gptloom.hdl.unrolled.finish import added_words
from gptloom.hdl.unrolled.root import inverse_root
from gptloom.hdl.unrolled.trees import added, cycles, over_beats, reduced
from gptloom.model.config import ModelConfig
from gptloom.model.merged.integer import SCORE_BITS, STREAM_ENTRIES, MergedModel

STREAM, ROW = 1, Multiplier.latency + 1
"""Cycles from `valid` to the stream, and from a factor to its rounded products."""


QUERY_BITS = 18
"""Width of a multiplier cell's factor."""


class Enter(wiring.Component):
    """The row of a layer that has no table: query, key and value, and the words added later.

    The product of query and scale is exact, so scores equal those of the golden model, which
    multiplies by the scale at the end.

    Timing for up to 16 elements:

    ========  ================================================================================
    cycle     what happens
    ========  ================================================================================
    1         product and offset become the stream: parts q', k', v' and x'
    2 to 5    energy of x'; in parallel x, which waits until F and D are due
    6         scale, the energy's inverse root
    7 to 9    query times scale; k and v
    10 to 13  the score of the query with its own key, while attention begins
    ========  ================================================================================

    Parameters
    ----------
    model
        The network, with the constants of the layers.
    layer
        Index of the layer to enter: 1 or more.
    product_of
        Factory of products by constants, as `dense` of :class:`.Finish`.
    multipliers
        Classes of the multipliers, as many as `multipliers_of` returns.
    until_added
        Cycles from `valid` to the use of fx, x and lx.

    Attributes
    ----------
    latency
        Cycles from `valid` to q, k and v: 9 for 5 to 16 elements, 10 for up to 64.
    dense
        The product by F and D.
    valid : In(1)
        Product and offset of a token are valid.
    product, offset : In(signed) of every output of the layer before
        See :class:`.Finish`.
    inverse : In(unsigned)
        See :class:`.Root`.
    q, k, v : Out(signed) of every element
        The row, held until the next.
    own : Out(signed 10) of every head
        Score of the query with its own key, ``Attention.own_waits`` cycles after the row.
    fx, x, lx : Out(signed) of every element
        Words for :class:`.Finish`, `until_added` cycles after `valid`, for one cycle only.
    """

    @staticmethod
    def multipliers_of(config: ModelConfig) -> int:
        """Return the number of multipliers: those that square x' included."""
        return 6 * config.width

    @staticmethod
    def latency_of(config: ModelConfig) -> int:
        """Return the latency."""
        return STREAM + Multiplier.latency + cycles(config.width, 1) + 1 + ROW

    def __init__(
        self,
        model: MergedModel,
        layer: int,
        product_of: Callable[..., Dense],
        multipliers: Sequence[type[Multiplier]],
        until_added: int,
    ):
        config, widths = model.config, model.widths
        before, constants = model.layers[layer - 1], model.layers[layer]
        self._widths, self._shifts = widths, constants.shifts
        self._product_shift = before.shifts["product"]
        width = config.width
        self._squares, self._residual, self._row, self._own = (
            multipliers[begin * width : end * width]
            for begin, end in ((0, 1), (1, 2), (2, 5), (5, 6))
        )
        self.dense = product_of(
            [constants.weights["f"], constants.weights["d"]], widths.residual, is_signed=True
        )
        self.latency = self.latency_of(config)
        # The rounded sums take one more register.
        self._begins, self._until_added = until_added - 1 - self.dense.latency, until_added
        if self._begins < STREAM + ROW:
            raise ValueError(f"F x and D x are not done {until_added} cycles after the stream")
        bits = model.bits()[layer - 1]
        outputs = len(before.weights["b"])
        query = Attention.query_bits(model, layer)
        if query > QUERY_BITS:
            raise ValueError(f"a query of {query} bits: {QUERY_BITS} are the most")
        super().__init__(
            {
                "valid": In(1),
                "product": In(signed(bits["b"])).array(outputs),
                "offset": In(signed(bits["offset"])).array(outputs),
                "inverse": In(widths.root),
                "q": Out(signed(query)).array(width),
                "k": Out(signed(widths.keys)).array(width),
                "v": Out(signed(widths.values)).array(width),
                "own": Out(signed(SCORE_BITS)).array(config.heads),
                **{
                    name: Out(signed(bits)).array(count)
                    for name, (bits, count) in added_words(model, layer).items()
                },
            }
        )

    def elaborate(self, platform):
        m = Module()
        part = dict(zip(STREAM_ENTRIES, self._streams(m), strict=True))
        at_scale = self.latency - ROW
        scale = self._find_scale(m, part["x"])
        factors = [late(m, value, at_scale - STREAM) for name in "qkv" for value in part[name]]
        scaled = self._times(m, "row", self._row, factors, scale)
        rows = ((name, value) for name in "qkv" for value in getattr(self, name))
        with m.If(late(m, self.valid, self.latency - 1)):
            for (name, to), value in zip(rows, scaled, strict=True):
                if name != "q":
                    value = saturated(rounded(value, self._shifts[name]), len(to))
                m.d.sync += to.eq(value)
        self._score_own(m)
        self._find_added(m, part["x"])
        return m

    def _streams(self, m: Module) -> list[list[Signal]]:
        """Add product and offset to the stream; return its parts."""
        half = Const(1 << self._product_shift >> 1, self._product_shift)
        size, parts = len(self.product) // len(STREAM_ENTRIES), []
        for i, (product, offset) in enumerate(zip(self.product, self.offset, strict=True)):
            element = Signal(signed(self._widths.stream), name=f"stream_{i}", **LOADED)
            total = (product + Cat(half, offset).as_signed()) >> self._product_shift
            m.d.sync += element.eq(saturated(total, len(element)))
            parts.append(element)
        return [parts[begin : begin + size] for begin in range(0, len(parts), size)]

    def _times(self, m: Module, name: str, multipliers, values, factor: Value) -> list[Value]:
        """Return products of signed values with an unsigned factor."""
        products = []
        for i, (multiplier, value) in enumerate(zip(multipliers, values, strict=True)):
            m.submodules[f"{name}_{i}"] = product = multiplier(factor.shape(), value.shape())
            m.d.comb += [product.a.eq(factor), product.b.eq(value)]
            products.append(product.o)
        return products

    def _find_scale(self, m: Module, elements: list[Signal]) -> Signal:
        """Return the inverse root of the elements' energy."""
        squares = []
        for i, (multiplier, element) in enumerate(zip(self._squares, elements, strict=True)):
            m.submodules[f"square_{i}"] = square = multiplier(element.shape(), element.shape())
            m.d.comb += [square.a.eq(element), square.b.eq(element)]
            squares.append(square.o)
        bits = (len(elements) << 2 * (self._widths.stream - 1)).bit_length()
        energy = Signal(bits)
        m.d.comb += energy.eq(over_beats(m, squares, added, None, unsigned(bits)))
        scale = Signal(self._widths.root, **LOADED)
        m.d.sync += scale.eq(inverse_root(energy, len(scale), self._shifts["scale"]))
        return scale

    def _score_own(self, m: Module) -> None:
        """Multiply the query by its own key."""
        products = []
        for i, (multiplier, q, k) in enumerate(zip(self._own, self.q, self.k, strict=True)):
            m.submodules[f"own_{i}"] = product = multiplier(k.shape(), q.shape())
            m.d.comb += [product.a.eq(k), product.b.eq(q)]
            products.append(product.o)
        size = len(products) // len(self.own)
        for head, own in enumerate(self.own):
            total = reduced(products[head * size : (head + 1) * size], added)
            dot = Signal.like(total, name="dot", **LOADED)
            m.d.sync += dot.eq(total)
            score = saturated(rounded(dot, self._shifts["score"]), SCORE_BITS)
            m.d.comb += own.eq(late(m, score, Attention.own_waits - Multiplier.latency - 1))

    def _find_added(self, m: Module, elements: list[Signal]) -> None:
        """Scale x, and multiply it by F and D."""
        m.submodules.dense = dense = self.dense
        factor = late(m, self.inverse, STREAM)
        products = self._times(m, "residual", self._residual, elements, factor)
        there, bits = STREAM + ROW, self._widths.residual
        for product, to, x in zip(products, dense.i, self.x, strict=True):
            scaled = Signal(signed(bits), name="scaled", **LOADED)
            m.d.sync += scaled.eq(saturated(rounded(product, self._shifts["x"]), bits))
            given = late(m, scaled, self._begins - there)
            m.d.comb += [to.eq(given), x.eq(late(m, given, self._until_added - self._begins))]
        m.d.comb += dense.valid.eq(late(m, self.valid, self._begins))
        for name, sums in zip(("fx", "lx"), dense.o, strict=True):
            for to, total in zip(getattr(self, name), sums, strict=True):
                m.d.sync += to.eq(rounded(total, self._shifts[name]))
