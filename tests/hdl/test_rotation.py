"""Cosines and sines equal the model's at every position, however large."""

import numpy as np
import pytest

from gptloom.firmware.machine import Machine
from gptloom.hdl.folded.rotation import Rotation
from gptloom.model import tables
from gptloom.model.config import ModelConfig
from gptloom.model.formats import FINE

SHAPES = [2, 6, 8, 20]


@pytest.fixture(params=SHAPES, ids="{} elements a head".format)
def rotation(request, bench):
    config = ModelConfig(
        heads=2, head_dim=request.param, hidden=16, family="llama", positions="rotary"
    )
    machine = Machine.for_models(32, config, precision=FINE)
    speeds = tables.rotary_speeds(request.param, 37.0)
    return bench(Rotation(machine, speeds.tolist())), speeds


def turns(block, pairs):
    """Return cosine and sine of all pairs, as they are read."""
    found = []
    for quad in range(-(-pairs // 2)):
        block.set(quad=quad)
        block.step()
        found += [(turn.cosine, turn.sine) for turn in block.get("turns")]
    return found[:pairs]


def advance(block, first=False):
    block.set(start=1, first=first)
    block.step()
    block.set(start=0, first=0)
    for _ in range(block.component.latency - 1):
        block.step()


def test_every_position_turns_by_its_angle(rotation):
    block, speeds = rotation
    for document in (23, 40):
        for position in range(document):
            advance(block, first=position == 0)
            expected = tables.rotation(np.int64(position), speeds)
            assert turns(block, len(speeds)) == list(
                zip(*map(np.ndarray.tolist, expected), strict=True)
            )


def test_whole_turns_fall_away(bench):
    """A speed just below a turn passes every phase, and its angle never overflows."""
    config = ModelConfig(heads=2, head_dim=2, hidden=16, family="llama", positions="rotary")
    speed = (1 << tables.SPEED_FRACTION) - 4099
    block = bench(Rotation(Machine.for_models(32, config, precision=FINE), [speed]))
    seen = set()
    for position in range(900):
        advance(block, first=position == 0)
        expected = tables.rotation(np.int64(position), np.array([speed]))
        (turn,) = turns(block, 1)
        assert turn == tuple(int(e[0]) for e in expected)
        seen.add(turn)
    assert len(seen) > 200


def test_the_quarter_of_the_sine_is_all_of_it():
    """The table in hardware mirrors itself: the golden model's has to."""
    sine, quarter = tables.SINE_TABLE, len(tables.SINE_TABLE) // 4
    rising = sine[: quarter + 1]
    assert (sine[quarter : 2 * quarter + 1] == rising[::-1]).all()
    assert (sine[2 * quarter :] == -sine[: 2 * quarter]).all()
