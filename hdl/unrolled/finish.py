"""From the mix to the outputs of a layer."""

from collections.abc import Callable
from typing import NamedTuple

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gptloom.hdl.arithmetic import saturated
from gptloom.hdl.delay import late
from gptloom.hdl.unrolled.dense import Dense
from gptloom.hdl.unrolled.offset import Offset
from gptloom.hdl.unrolled.root import Root
from gptloom.model.merged.integer import MergedModel

ROOT_WAITS = 1
"""Cycles from the first products to the root, whose sums are a long path by themselves."""


def added_words(model: MergedModel, layer: int) -> dict[str, tuple[int, int]]:
    """Return width and number of the words added to the first products: fx, x and lx."""
    config, widths, constants = model.config, model.widths, model.layers[layer]
    sizes = {"fx": config.hidden, "x": config.width, "lx": len(constants.weights["b"])}
    bits = dict.fromkeys(sizes, widths.table)
    if layer:
        bits["x"] = widths.residual
        for name, matrix in (("fx", "f"), ("lx", "d")):
            shift = constants.shifts[name]
            # Rounding may take a bit more.
            bits[name] = max(1, model.bits()[layer][matrix] - shift + (shift > 0))
    return {name: (bits[name], size) for name, size in sizes.items()}


class FinishSteps(NamedTuple):
    """Cycles from the mix to each result.

    Attributes
    ----------
    first
        The products by A1, Wo and A2 are ready.
    root_begins, root
        The residual is ready; its root is.
    offset_begins, offset
        ``direct`` and the first noise are due; all offsets are ready.
    second
        The product by B is ready.
    done
        Offsets and product meet.
    """

    first: int
    root_begins: int
    root: int
    offset_begins: int
    offset: int
    second: int
    done: int


class Finish(wiring.Component):
    """A layer's products by constants, its residual's root, and the offset.

    ======  ==================================================================================
    step    what happens, and what runs in parallel
    ======  ==================================================================================
    first   products of one vector by A1, Wo and A2
    second  product by B; in parallel the residual, :class:`.Root` and :class:`.Offset`
    ======  ==================================================================================

    Parameters
    ----------
    model
        The network, with the layer's constants.
    layer
        Index of the layer.
    dense
        Factory of products by matrices, given the activations' bits and sign: see :class:`.Dense`.
    interval
        Minimum cycles between tokens.

    Attributes
    ----------
    first, second
        The products.
    steps
        Timing of the results.
    values_per_cycle
        Noise and offset values per cycle: enough for the last one to be ready with the second
        product.
    valid : In(1)
        `i` is valid.
    i : In(signed) of every element
        The mix.
    fx, x, lx : In(signed) of every element of the hidden layer, the residual, the outputs
        Words added to the first products; due exactly ``steps.first`` cycles after `valid`.
    noise : In(signed) of every value of a beat
        Noise, in the last layer only; see :class:`.Offset`.
    product, offset : Out(signed) of every output
        B u, before rounding, and the offset to add to it; for one cycle only.
    inverse : Out(unsigned)
        See :class:`.Root`; in all layers but the last.
    o_valid : Out(1)
        `product` and `offset` are valid.
    """

    def __init__(self, model: MergedModel, layer: int, dense: Callable[..., Dense], interval: int):
        widths, config, bits = model.widths, model.config, model.bits()[layer]
        constants = model.layers[layer]
        self._shifts, self._widths = constants.shifts, widths
        self._is_first, self._is_last = layer == 0, layer == len(model.layers) - 1
        matrices = constants.weights
        self.first = dense(
            [matrices[name] for name in ("a1", "wo", "a2")], widths.activations, is_signed=True
        )
        self.second = dense([matrices["b"]], widths.activations, is_signed=False)
        self._root, outputs = Root(model, layer), len(matrices["b"])
        beats = self.second.latency - ROOT_WAITS - self._root.latency - Offset.AFTER_BEATS
        self.values_per_cycle = -(-outputs // max(1, min(interval, beats)))
        self._offset = Offset(model, layer, self.values_per_cycle)
        self.steps = self._find_steps()

        if self._is_last:
            more = {"noise": In(signed(bits["noise"])).array(self.values_per_cycle)}
        else:
            more = {"inverse": Out(widths.root)}
        super().__init__(
            {
                "valid": In(1),
                "i": In(signed(widths.activations)).array(config.width),
                **{
                    name: In(signed(bits)).array(count)
                    for name, (bits, count) in added_words(model, layer).items()
                },
                **more,
                "product": Out(signed(bits["b"])).array(outputs),
                "offset": Out(signed(bits["offset"])).array(outputs),
                "o_valid": Out(1),
            }
        )

    def _find_steps(self) -> FinishSteps:
        first = self.first.latency
        second, root_begins = first + self.second.latency, first + ROOT_WAITS
        root = root_begins + self._root.latency
        offset = root + self._offset.latency
        return FinishSteps(
            first=first,
            root_begins=root_begins,
            root=root,
            offset_begins=root - 1,
            offset=offset,
            second=second,
            done=max(second, offset),
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.first, m.submodules.second = first, second = self.first, self.second
        m.submodules.root, m.submodules.offset = root, offset = self._root, self._offset
        at, widths = self.steps, self._widths
        m.d.comb += [
            first.valid.eq(self.valid),
            *(to.eq(value) for to, value in zip(first.i, self.i, strict=True)),
        ]

        a1, wo, a2 = first.o
        for to, value in zip(second.i, self._added(self.fx, "fx", a1, "hidden"), strict=True):
            limit = (1 << widths.activations) - 1
            fits = len(value) <= widths.activations + 1
            above = Const(0) if fits else value[widths.activations : -1].any()
            m.d.comb += to.eq(Mux(value[-1], 0, Mux(above, limit, value[: widths.activations])))
        for to, value in zip(root.i, self._added(self.x, "x", wo, "residual"), strict=True):
            residual = Signal(to.shape(), name="residual")
            m.d.comb += [
                residual.eq(saturated(value, widths.residual)),
                to.eq(late(m, residual, at.root_begins - at.first)),
            ]
        wait = at.offset_begins - at.first
        for to, value in zip(offset.direct, self._added(self.lx, "lx", a2, "direct"), strict=True):
            direct = Signal(to.shape(), name="direct")
            m.d.comb += [
                direct.eq(saturated(value, widths.direct)),
                to.eq(late(m, direct, wait)),
            ]
        m.d.comb += [
            second.valid.eq(first.o_valid),
            root.valid.eq(late(m, first.o_valid, at.root_begins - at.first)),
            offset.valid.eq(late(m, first.o_valid, wait)),
            offset.root.eq(root.o),
            self.o_valid.eq(late(m, second.o_valid, at.done - at.second)),
        ]
        if self._is_last:
            m.d.comb += [to.eq(value) for to, value in zip(offset.noise, self.noise, strict=True)]
        else:
            m.d.comb += self.inverse.eq(late(m, root.inverse, at.done - at.root))
        for to, value in zip(self.product, second.o[0], strict=True):
            m.d.comb += to.eq(late(m, value, at.done - at.second))
        for to, value in zip(self.offset, offset.o, strict=True):
            m.d.comb += to.eq(late(m, value, at.done - at.offset))
        return m

    def _added(self, words, entry: str, products, site: str) -> list:
        """Return the sums of words and products, as words shifted left and sums shifted right.

        Words are shifted left in layer 0 only. The half for rounding is placed below the word, so
        that one addition does both.
        """
        right, left = self._shifts[site], self._shifts[entry] if self._is_first else 0
        half = Const((1 << right) >> 1, right)
        words = [Cat(half, Const(0, left), word).as_signed() for word in words]
        return [(word + product) >> right for word, product in zip(words, products, strict=True)]
