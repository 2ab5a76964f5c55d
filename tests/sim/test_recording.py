"""Recorded signals of any width, and names that Amaranth numbered."""

import numpy as np
import platformdirs
import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gptloom.sim.engines import build, open_engine

WIDTHS = (1, 63, 64, 65, 128, 130)


class Inner(wiring.Component):
    def __init__(self):
        super().__init__({"i": In(8), "o": Out(8)})

    def elaborate(self, platform):
        m = Module()
        more = Signal(8)
        m.d.comb += more.eq(self.i + 1)
        m.d.sync += self.o.eq(more)
        return m


class Block(wiring.Component):
    """Wide registers; a signal and a submodule with the same name."""

    def __init__(self):
        super().__init__({f"i{w}": In(w) for w in WIDTHS} | {"sum": Out(8), "y": Out(8)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.sum = inner = Inner()
        taken = Signal(8, name="o")
        everything = Signal(sum(WIDTHS))
        at = 0
        for width in WIDTHS:
            register = Signal(width, name=f"r{width}")
            m.d.sync += register.eq(getattr(self, f"i{width}"))
            # Parts of one signal at arbitrary offsets.
            m.d.sync += everything[at : at + width].eq(getattr(self, f"i{width}"))
            at += width
        m.d.comb += [inner.i.eq(self.i63), self.sum.eq(inner.o), taken.eq(everything[:8])]
        m.d.comb += self.y.eq(taken)
        return m


class Large(wiring.Component):
    """A register behind a wire, in a submodule."""

    i: In(8)
    y: Out(8)

    def elaborate(self, platform):
        m = Module()
        m.submodules.inner = inner = Inner()
        m.d.comb += [inner.i.eq(self.i), self.y.eq(inner.o + 1)]
        return m


@pytest.fixture(params=("cxxrtl", "pysim"))
def engine(request):
    with open_engine(Block(), request.param) as engine:
        yield engine


def test_wide_signals_are_recorded_in_words(engine):
    signals = ["everything", *(f"r{w}" for w in WIDTHS), *(f"i{w}" for w in WIDTHS), "y"]
    engine.record(signals)
    random, peeked = np.random.default_rng(1), []
    for _ in range(50):
        for width in WIDTHS:
            engine.poke(f"i{width}", int.from_bytes(random.bytes(17), "little") % (1 << width))
        peeked.append([engine.peek(name) for name in signals])
        engine.step()
    recorded = engine.recording()
    assert recorded["r64"].ndim == 1
    assert recorded["r65"].shape == (50, 2)
    assert recorded["everything"].shape == (50, 8)
    columns = [array.reshape(50, -1) for array in recorded.values()]
    assert np.array_equal(engine.recorded_rows(), np.concatenate(columns, axis=1))
    for name, array, values in zip(signals, columns, zip(*peeked, strict=True), strict=True):
        whole = [sum(int(word) << 64 * i for i, word in enumerate(row)) for row in array]
        assert whole == list(values), name
    assert any(value >> 400 for value in (row[0] for row in peeked))


def test_numbers_of_taken_names_may_be_left_out(engine):
    engine.poke("i63", 41)
    engine.step()
    assert engine.peek("sum.o") == engine.peek("sum") == 42
    engine.record(["sum.o"])
    engine.step()
    assert engine.recording()["sum.o"].tolist() == [42]
    with pytest.raises(KeyError, match=r"sum\.nothing"):
        engine.peek("sum.nothing")


@pytest.mark.nightly
def test_every_name_of_a_large_design(monkeypatch, tmp_path):
    """Only registers have names in it, and wires on request."""
    monkeypatch.setattr(build, "_LARGE", 0)
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda name: str(tmp_path / name))
    with open_engine(Large(), "cxxrtl") as engine:
        assert engine.peek("inner.o") == 0
        with pytest.raises(KeyError, match=r"no signal 'inner\.more'"):
            engine.peek("inner.more")
    with open_engine(Large(), "cxxrtl", every_name=True) as engine:
        assert engine.peek("inner.more") == 1
