"""The prover also refutes wrong claims, and names missing tools."""

import re
from pathlib import Path

import prove as library
import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from prove import Bench, Refuted, prove

from gptloom.model.errors import UserError


class Counter(wiring.Component):
    """Counts to 5 and stops."""

    enable: In(1)
    o: Out(4)

    def elaborate(self, platform):
        m = Module()
        with m.If(self.enable & (self.o != 5)):
            m.d.sync += self.o.eq(self.o + 1)
        return m


def counting(most, reached=5):
    bench = Bench(Counter())
    bench.claim("at most", bench.dut.o <= most)
    bench.reach("end", bench.dut.o == reached)
    return bench


def test_a_claim_is_proved(request):
    result = prove(counting(5), request.node.name, 8)
    assert (result.claims, result.covers, result.how) == (1, 1, "induction over 2")


def test_a_counterexample_is_shown(request):
    with pytest.raises(Refuted, match="at_most") as caught:
        prove(counting(4), request.node.name, 8)
    assert caught.value.claims == ["at_most"]
    wave = Path(re.search(r"waveform in (\S+)", str(caught.value))[1])
    assert "at_most" in wave.read_text()
    assert "induct" not in wave.name


def test_what_holds_for_some_cycles_only_is_not_proved(request):
    # Beyond 5 the counter goes on: a start that induction cannot exclude.
    bench = counting(5)
    bench.claim("not 9", bench.dut.o != 9)
    prove(bench, request.node.name, 4, reach=6)
    alone = Bench(Counter())
    alone.claim("not 9", alone.dut.o != 9)
    alone.reach("start", alone.dut.o == 0)
    with pytest.raises(Refuted, match="trace_induct"):
        prove(alone, request.node.name, 4)


def test_a_bounded_search_says_so(request):
    assert prove(counting(3, 2), request.node.name, 4, induction=False).how == "bounded, from reset"


def test_a_pipeline_begins_with_anything(request):
    bench = counting(5)
    with pytest.raises(Refuted, match="at_most"):
        prove(bench, request.node.name, 3, settled=2, reach=6)


def test_what_cannot_happen_proves_nothing(request):
    with pytest.raises(Refuted, match="Unreached cover: end"):
        prove(counting(5, reached=6), request.node.name, 8)
    # A claim that holds only because an assumption excludes all relevant cases.
    bench = counting(4)
    bench.assume("never", bench.dut.o != 1)
    with pytest.raises(Refuted, match="Unreached cover: end") as caught:
        prove(bench, request.node.name, 8)
    assert "end" in caught.value.claims


def test_contradicting_assumptions_are_an_error(request):
    bench = counting(5)
    bench.assume("both", bench.dut.o == 1)
    with pytest.raises(RuntimeError, match="unsatisfiable"):
        prove(bench, request.node.name, 8)


def test_a_cover_is_needed():
    bench = Bench(Counter())
    bench.claim("any", Signal(init=1))
    with pytest.raises(ValueError, match="has no cover"):
        prove(bench, "none", 1)
    bench.rtlil()  # Amaranth complains of modules that are made for nothing


def test_a_missing_solver_is_named(request, monkeypatch):
    monkeypatch.setattr(library, "_PROGRAM", "no-such-solver")
    with pytest.raises(UserError, match="pip install"):
        prove(counting(5), request.node.name, 8)


@pytest.mark.parametrize("name", ["other", "o.more"])
def test_a_signal_has_to_be_there(name):
    bench = Bench(Counter())
    with pytest.raises((LookupError, NameError)):
        bench.inside(name)
    bench.rtlil()
