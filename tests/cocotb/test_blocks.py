"""The core's blocks within a simulator, each used at random; all of them in one build."""

import pytest

from gptloom.hdl.folded import softmax


@pytest.fixture
def blocks(monkeypatch):
    """Make the blocks, of which every bench uses one."""
    monkeypatch.syspath_prepend(str(__file__).rpartition("/")[0])
    from blocks import Blocks

    return Blocks


def test_blocks(cosimulate, blocks, simulator, seed):
    cosimulate(blocks(), "bench_blocks", 1 + 1_000 * seed, simulator=simulator)


@pytest.mark.long
@pytest.mark.parametrize("number", range(2, 12))
def test_blocks_used_otherwise(cosimulate, blocks, number):
    cosimulate(blocks(), "bench_blocks", number)


@pytest.mark.long
def test_a_bench_fails_where_a_block_is_wrong(cosimulate, blocks, monkeypatch):
    monkeypatch.setattr(softmax, "EXP2_TABLE", softmax.EXP2_TABLE ^ 1)
    with pytest.raises(AssertionError, match=r"1 of 9 tests failed(.|\n)*softmax +FAIL"):
        cosimulate(blocks(), "bench_blocks", 1)
