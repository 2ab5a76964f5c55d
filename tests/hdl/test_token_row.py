"""A token's embedding is the row of its matrix, wherever that lies in the operands."""

import numpy as np
import pytest

from gptloom.firmware.latencies import Latencies
from gptloom.firmware.machine import QUAD, Machine
from gptloom.hdl.folded.functions import Functions
from gptloom.hdl.folded.token_row import TokenRow
from gptloom.model.config import ModelConfig
from gptloom.model.formats import PROFILES


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize(("lanes", "width"), [(32, 24), (64, 16), (128, 40)])
def test_every_row(bench, lanes, width, profile):
    config = ModelConfig(
        width=width, heads=2, hidden=16, vocabulary=37, family="llama", positions="rotary"
    )
    machine = Machine.for_models(lanes, config, precision=PROFILES[profile])
    row, bits = TokenRow(machine), machine.lane_bits
    block, quads = bench(row), width // QUAD
    draw = np.random.default_rng(lanes)
    table = draw.integers(-(1 << bits - 1), 1 << bits - 1, (config.vocabulary, width))
    words = np.zeros((machine.operand_words, machine.units, QUAD), np.int64)
    for token, elements in enumerate(table):
        first = token // machine.units * quads
        words[first : first + quads, token % machine.units] = elements.reshape(-1, QUAD)

    def packed(word):
        return [
            sum((int(v) & (1 << bits) - 1) << bits * i for i, v in enumerate(unit)) for unit in word
        ]

    block.set(last_beat=quads - 1)
    for token in (0, 36, 1, 17, 16, 31, 32):
        block.set(start=1, token=token)
        seen, cycles, claimed, coming = [], [], 0, words[-1]
        for cycle in range(quads + row.latency + 2):
            address, reading = block.get("address"), block.get("reading")
            claimed += reading
            if block.get("o__valid"):
                cycles.append(cycle)
                assert block.get("o__index") == len(seen)
                seen += block.get("o__elements")
                assert block.get("o__last") == (len(seen) == width)
            block.step()
            # Words come two cycles after their address.
            block.set(start=0, words=packed(coming))
            coming = words[address] if reading else words[-1]
        assert seen == table[token].tolist()
        assert cycles == list(range(row.latency, row.latency + quads))
        assert claimed == quads
    # Functions and the results' register follow.
    assert Latencies.of(machine).embed == row.latency + Functions.latency + 1
