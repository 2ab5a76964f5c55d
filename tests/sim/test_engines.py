"""All engines simulate the same behaviour; a missing compiler is no obstacle."""

import numpy as np
import pytest
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from gptloom.model.errors import UserError
from gptloom.sim.engines import compilers, open_engine
from verification.designs import Adder, Block, Ripple

KINDS = ("cxxrtl", "pysim")

pytestmark = [
    # A refused design is never elaborated.
    pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable"),
    # One process compiles the designs.
    pytest.mark.xdist_group("engines"),
]


@pytest.fixture(params=KINDS)
def engine(request):
    with open_engine(Block(), request.param) as engine:
        yield engine


def _drive(engine, inputs, signals, cycles=300):
    """Poke random values before every edge; return recorded and peeked values."""
    random = np.random.default_rng(7)
    engine.record(signals)
    wide, peeked = [], []
    for _ in range(cycles):
        for name, width in inputs.items():
            engine.poke(name, int.from_bytes(random.bytes(16), "little") % (1 << width))
        wide.append([engine.peek(name) for name in ("wide", "wide_in") if name in engine.ports])
        peeked.append([engine.peek(name) for name in signals])
        engine.step()
    recorded = engine.recording()
    assert all(array.dtype == np.uint64 for array in recorded.values())
    assert np.array_equal(np.array(peeked), np.stack(list(recorded.values()), axis=1))
    return peeked, wide


@pytest.mark.parametrize(
    ("design", "inputs", "signals"),
    [
        (
            Block,
            # Addresses beyond the memory's end as well, and occasional resets.
            dict(i__payload=8, i__valid=1, o__ready=1, seed=5, wide_in=100, rst=1),
            [
                *("i__ready", "o__payload", "o__valid", "parity", "fixed", "count", "seed"),
                *("busy", "sum.acc", "sum.doubled"),
            ],
        ),
        pytest.param(Ripple, dict(a=8), ["y", "top_bit"], marks=pytest.mark.long),
        pytest.param(Adder, dict(a=4, rst=1), ["y"], marks=pytest.mark.long),
    ],
)
def test_engines_agree(design, inputs, signals):
    results = []
    for kind in KINDS:
        with open_engine(design(), kind) as engine:
            assert engine.name == kind
            results.append((engine.ports, _drive(engine, inputs, signals)))
    assert results[0] == results[1]


def test_ports_are_flattened(engine):
    assert engine.ports == (
        *("i__payload", "i__valid", "i__ready", "o__payload", "o__valid", "o__ready"),
        *("seed", "wide_in", "wide", "parity", "fixed", "count", "rst"),
    )


def test_power_on_values(engine):
    assert engine.peek("seed") == 5
    assert engine.peek("fixed") == 300
    assert engine.cycles == 0


def test_values_are_unsigned(engine):
    engine.poke("seed", 1)
    engine.step(2)
    assert engine.peek("sum.acc") == (1 << 12) - 10


def test_wide_values_and_combinational_paths(engine):
    value = (1 << 99) | (0xDEADBEEF << 40) | 1
    engine.poke("wide_in", value)
    assert engine.peek("wide_in") == value
    assert engine.peek("parity") == value.bit_count() % 2
    engine.step()
    assert engine.peek("wide") == (((value >> 1) | (value.bit_count() % 2) << 99) ^ 5)


def test_run_until_counts_edges(engine):
    engine.poke("i__valid", 1)
    edges = engine.run(1000, "o__valid")
    assert edges == engine.cycles == 3
    assert engine.peek("o__valid") == 1
    assert engine.peek("count") == 3
    assert engine.run(1000, "o__valid") == 0
    # The edge that was only previewed must leave no trace: neither count nor write twice.
    engine.step()
    assert engine.peek("count") == 4
    engine.poke("i__valid", 0)
    assert engine.run(1000, "o__valid") == 3
    engine.poke("o__ready", 1)
    engine.step()
    assert engine.run(50, "o__valid") == 50
    assert engine.run(0, "o__valid") == 0
    assert engine.run(10) == 10
    assert engine.cycles == 3 + 1 + 3 + 1 + 50 + 10


def test_stopped_run_does_not_write_memory(engine):
    engine.poke("i__valid", 1)
    engine.poke("i__payload", 77)
    engine.poke("seed", 0)
    assert engine.run(10, "i__ready") == 0
    engine.poke("i__valid", 0)
    engine.step(1)
    assert engine.peek("sum.i") == 3


def test_run_until_a_signal_inside(engine):
    engine.poke("i__valid", 1)
    assert engine.run(10, "busy") == 1


def test_recording_spans_blocks_and_stops(engine, monkeypatch):
    monkeypatch.setattr("gptloom.sim.engines.base._CHUNK_ROWS", 50)
    assert engine.recording() == {}
    engine.record(["count"])
    assert len(engine.recording()["count"]) == 0
    engine.step(110)
    engine.poke("i__valid", 1)
    edges = engine.run(100, "o__valid")
    engine.stop_recording()
    engine.step(5)
    assert engine.recording()["count"].tolist() == [cycle % 64 for cycle in range(110 + edges)]


def test_reset_restores_everything(engine):
    def history():
        engine.record(["o__payload", "count", "sum.i"])
        for seed in (0, 1, 2, 9):
            engine.poke("seed", seed)
            engine.step(2)
        return [array.tolist() for array in engine.recording().values()]

    first = history()
    engine.poke("i__valid", 1)
    engine.poke("i__payload", 99)
    engine.poke("o__ready", 1)
    engine.step(100)
    assert history() != first
    engine.reset()
    assert engine.cycles == 0
    assert engine.peek("seed") == 5
    assert engine.peek("i__valid") == 0
    assert history() == first


@pytest.mark.parametrize("recorded", [False, True])
def test_items_are_sent_as_if_they_were_poked(engine, recorded):
    """The block takes an item every other cycle, and writes it where the cycle says."""
    items, found = [3, 250, 7, 1], []

    def poke(items):
        for item in items:
            engine.poke("i__payload", item)
            engine.poke("i__valid", 1)
            engine.run(100, "i__ready")
            engine.step()
        engine.poke("i__valid", 0)
        return True

    for give in (poke, lambda items: engine.send("i", iter(items), 100)):
        engine.reset()
        engine.poke("o__ready", 1)
        if recorded:
            engine.record(["i__ready"])
        assert give(items[:3])
        assert give(items[3:])
        written = []
        for address in range(24):
            engine.poke("seed", address)
            engine.step(2)
            written.append((engine.peek("sum.acc"), engine.cycles))
        found.append(written)
    assert found[0] == found[1]
    assert len(engine.recording().get("i__ready", ())) == (found[0][-1][1] if recorded else 0)


def test_a_stream_that_is_never_ready_is_given_up(engine):
    engine.poke("o__ready", 0)
    assert not engine.send("i", [1] * 30, 50)
    assert engine.peek("i__valid") == 0


def test_mistakes_are_named(engine):
    with pytest.raises(KeyError, match="no signal 'nothing'"):
        engine.peek("nothing")
    with pytest.raises(KeyError, match="o__valid"):
        engine.poke("nothing", 0)
    with pytest.raises(KeyError, match="nothing"):
        engine.record(["count", "nothing"])
    with pytest.raises(ValueError, match="output"):
        engine.poke("count", 0)
    for value in (-1, 128):
        with pytest.raises(ValueError, match="0 to 127"):
            engine.poke("seed", value)
    with pytest.raises(ValueError, match="6 bits"):
        engine.run(1, "count")


@pytest.mark.long
def test_designs_side_by_side():
    with open_engine(Adder(), "cxxrtl") as one, open_engine(Ripple(), "cxxrtl") as other:
        one.poke("a", 3)
        other.poke("a", 1)
        other.step()
        assert (one.peek("y"), other.peek("y")) == (4, 255)


def test_unknown_kind():
    with pytest.raises(UserError, match="auto, cxxrtl, pysim"):
        open_engine(Adder(), "verilator")


def test_port_named_like_the_clock():
    with pytest.raises(ValueError, match="'clk'"):
        open_engine(wiring.Component({"clk": In(1)}), "pysim")


def test_missing_compiler(monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(compilers.shutil, "which", lambda name: None)
    monkeypatch.setattr(compilers.util, "find_spec", lambda name: None)
    said = []
    with open_engine(Adder(), progress=said.append) as engine:
        assert engine.name == "pysim"
        assert "no C++ compiler" in engine.description
    assert "gptloom[zig]" in said[0]
    with pytest.raises(UserError, match=r"pip install 'gptloom\[zig\]'"):
        open_engine(Adder(), "cxxrtl")


def test_wrong_cxx_is_named(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match="no-such-compiler"):
        open_engine(Adder())
