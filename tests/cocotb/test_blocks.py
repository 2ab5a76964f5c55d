"""The core's blocks within a simulator, each used at random; all of them in one build."""

import pytest
from blocks import Blocks
from uses import slow_in_verilator

from gptloom.hdl.folded import softmax


@slow_in_verilator(pytest.mark.nightly)
def test_blocks(cosimulate, simulator, seed):
    cosimulate(Blocks(), "bench_blocks", 1 + 1_000 * seed, simulator=simulator)


@pytest.mark.nightly
@pytest.mark.parametrize("number", range(2, 12))
def test_blocks_used_otherwise(cosimulate, number):
    cosimulate(Blocks(), "bench_blocks", number)


@pytest.mark.nightly
def test_a_bench_fails_where_a_block_is_wrong(cosimulate, monkeypatch):
    monkeypatch.setattr(softmax, "EXP2_TABLE", softmax.EXP2_TABLE ^ 1)
    with pytest.raises(AssertionError, match=r"1 of 9 tests failed(.|\n)*softmax +FAIL"):
        cosimulate(Blocks(), "bench_blocks", 1)
