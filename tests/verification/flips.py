"""Tests of the scoreboard itself: a recording in which bits flip."""

import numpy as np

from verification.scoreboard.block import Block
from verification.scoreboard.judge import first_mismatch
from verification.scoreboard.signals import Judged


def check_flips(rows, block: Block, runs, reference) -> None:
    """Flip a judged bit of every watched signal, one after the other: each has to be found.

    Parameters
    ----------
    rows, block, runs, reference
        A recording without a difference, and what it is compared with: see :func:`first_mismatch`.
    """
    assert first_mismatch(rows, block, runs, reference) is None
    draw = np.random.default_rng(4)
    for signal in block.signals.all:
        if signal.judged is Judged.INPUT:
            continue
        column = block.signals.columns[signal.path] + int(draw.integers(signal.words))
        cycles = np.flatnonzero(block.masks[:, column])
        assert len(cycles), f"{signal.path} is never judged"
        row = int(draw.choice(cycles))
        mask = int(block.masks[row, column])
        bit = int(draw.choice([b for b in range(64) if mask >> b & 1]))
        rows[row, column] ^= np.uint64(1 << bit)
        found = first_mismatch(rows, block, runs, reference)
        rows[row, column] ^= np.uint64(1 << bit)
        assert (found.cycle, found.signal) == (block.begin + row, signal.path)
        assert bin(found.expected ^ found.seen).count("1") == 1
        assert str(found)


def check_all_judged(block: Block, *excepted: str) -> None:
    """Every bit of every watched signal is judged at some time, except those that cannot vary."""
    judged = np.bitwise_or.reduce(block.masks, axis=0)
    whole = block.signals.column_masks()
    for column in range(block.signals.count):
        signal, _ = block.signals.owner(column)
        if signal.judged is not Judged.INPUT and signal.path not in excepted:
            assert judged[column] == whole[column], signal.path
