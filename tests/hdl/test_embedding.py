"""A token's and a position's embedding, summed element by element."""

import numpy as np
import pytest

from gptloom.firmware.machine import LANES, Machine
from gptloom.hdl.folded.embedding import Embedding
from gptloom.model.config import ModelConfig

# The second is a model narrower than the hardware is built for.
SHAPES = [(lanes, 16, 16) for lanes in LANES] + [(16, 24, 24), (64, 24, 24), (16, 16, 24)]


@pytest.fixture(params=SHAPES, ids=str)
def embedding(request, bench):
    lanes, width, largest = request.param
    machine = Machine.for_models(lanes, ModelConfig(width=largest, vocabulary=11, context=8))
    block = bench(Embedding(machine))
    draw = np.random.default_rng(width)
    tables = draw.integers(-128, 128, (11, width)), draw.integers(-128, 128, (8, width))
    tables[0][0], tables[1][0] = -128, -128
    tables[0][1], tables[1][1] = 127, 127
    for strobe, table in zip(("write_tokens", "write_positions"), tables, strict=True):
        for (row, element), value in np.ndenumerate(table):
            # The distance of rows is the hardware's longest row.
            address = row * machine.stream_elements + element
            block.set(write_address=address, write_data=value)
            block.set(**{strobe: 1})
            block.step()
            block.set(**{strobe: 0})
    block.set(last_beat=width // machine.writers - 1)
    return machine, block, tables


def start(machine, block, token, position, width):
    """Start a token; return its results by index, and check that they have no gaps."""
    seen = {}
    inputs = [{"start": 1, "token": token, "position": position}]
    inputs += [{"start": 0}] * (width // machine.writers + block.component.latency + 2)
    outputs = block.play(inputs, ["o__valid", "o__index", "o__last", "o__elements"])
    beats = width // machine.writers
    for cycle, o in enumerate(outputs):
        beat = cycle - block.component.latency
        assert o["o__valid"] == (0 <= beat < beats)
        if o["o__valid"]:
            assert o["o__index"] == beat * machine.writers
            assert o["o__last"] == (beat == beats - 1)
            for i in range(machine.writers):
                seen[o["o__index"] + i] = o["o__elements"][i]
    return [seen[i] for i in range(width)]


def test_every_token_at_every_position(embedding):
    machine, block, (tokens, positions) = embedding
    width = tokens.shape[1]
    for token in range(len(tokens)):
        for position in range(len(positions)):
            if token < 2 or position < 2:
                sums = start(machine, block, token, position, width)
                assert sums == (tokens[token] + positions[position]).tolist()


@pytest.mark.parametrize("eviction", ["none", "window", "recurrent"])
def test_with_penalties_the_tokens_embedding_is_all(bench, eviction):
    config = ModelConfig(vocabulary=11, context=8, positions="alibi", eviction=eviction)
    machine = Machine.for_models(16, config)
    block = bench(Embedding(machine, init_tokens=range(11 * 16 // machine.writers)))
    block.set(last_beat=16 // machine.writers - 1)
    rows = [start(machine, block, 5, position, 16) for position in range(8)]
    # Loaded positions have no memory and are ignored.
    block.set(write_positions=1, write_data=77)
    for address in range(8 * 16):
        block.set(write_address=address)
        block.step()
    block.set(write_positions=0)
    rows += [start(machine, block, 5, position, 16) for position in range(8)]
    assert rows == rows[:1] * 16
    assert len(block.component.words) == 1
