"""The sampler: the first of the largest logits, whatever the noise."""

import pytest
from amaranth.hdl import Mux, Signal, signed
from amaranth.lib.data import View
from prove import Bench

from gptloom.firmware.machine import Machine
from gptloom.hdl.folded.sampler import Sampler
from gptloom.model.arithmetic import LOGIT_BITS
from gptloom.model.config import ModelConfig


def sampling(prefers=lambda new, best: new > best):
    """Claim the index of the largest; another preference plants a fault."""
    bench = Bench(Sampler(Machine.for_models(8, ModelConfig())))
    m, dut = bench.m, bench.dut
    result = dut.i.beat
    assert isinstance(result, View)
    assert len(result.enable) == 1
    logit = bench.named(result.enable.any() & result.to.sampler, "logit_comes")
    noise = bench.inside("noise.values")
    added = Mux(dut.greedy, 0, noise.as_signed())
    value = bench.named(result["values"][0] + added, "value", signed(LOGIT_BITS + 1))
    # Logits come one by one, from index 0 on; the best so far and its index.
    best, index, begun = Signal(signed(LOGIT_BITS + 1)), Signal(8), Signal()
    first = result.index == 0
    with m.If(logit):
        with m.If(first | prefers(value, best)):
            m.d.sync += [best.eq(value), index.eq(result.index)]
        m.d.sync += begun.eq(begun | first)
    bench.assume("from the first on", ~logit | begun | first)
    # The pipeline lags by two cycles; the result comes one cycle later than the last logit.
    behind = dut.latency - 1
    known = bench.named(bench.before(begun, behind), "known")
    token = bench.before(index, behind)
    bench.claim("token", ~known | (dut.token == token[: len(dut.token)]))
    largest = bench.before(best, behind)
    bench.claim("best", ~known | (~bench.inside("best") == largest))
    last = bench.named(logit & result.last, "last")
    bench.claim("done", dut.done == bench.before(last, dut.latency))
    bench.reach("sampled", dut.done & (dut.token == 2))
    return bench


def test_the_first_of_the_largest(proved):
    """The sample is the first of the largest logits, each with its noise or none."""
    proved(sampling(), 5, reach=8)


def test_the_last_of_the_largest_would_be_found(refuted):
    refuted(sampling(lambda new, best: new >= best), 8, "token", induction=False)


@pytest.mark.parametrize("lanes", [8, 64])
def test_noise_is_never_of_a_zero_state(proved, lanes):
    """The sampler's generator is never in state 0, for any load at any time."""
    bench = Bench(Sampler(Machine.for_models(lanes, ModelConfig())))
    state = bench.inside("noise.generator.state")
    bench.claim("state", state != 0)
    bench.reach("loaded", state == 0x1234567)
    proved(bench, 3)
