"""A pass's sums leave the drain in order, and nothing else does."""

import numpy as np
import pytest

from gptloom.firmware.isa import Destination
from gptloom.firmware.machine import LANES, Machine
from gptloom.hdl.folded.drain import Drain
from gptloom.model.config import ModelConfig

OUTPUTS = (
    "o__valid", "o__enable", "o__index", "o__last", "o__to", "o__operation", "o__sums",
    "scores__valid", "scores__first", "scores__target", "scores__sums", "next_index",
)  # fmt: skip


@pytest.fixture(params=[(lanes, heads) for lanes in LANES for heads in (1, 4)], scope="module")
def drain(request, bench):
    lanes, heads = request.param
    machine = Machine.for_models(lanes, ModelConfig(heads=heads, hidden=128))
    return machine, bench(Drain(machine))


def play(machine, block, instructions, beats, draw):
    """Load the passes of some instructions, at times with gaps; return sums and what is seen."""
    cycles, sent = [], []
    for number, (destination, rows, passes) in enumerate(instructions):
        sums = draw.integers(-(1 << 23), 1 << 23, (passes, machine.units))
        sent.append(sums.reshape(-1))
        for i in range(passes):
            taken = {
                "job": {"opening": i == 0, "operation": number},
                "instruction": {"destination": destination, "rows": rows, "target": number},
                "sums": sums[i].tolist(),
            }
            cycles.append({"load": 1, **taken})
            # While a pass leaves, the MAC array's sums are those of the next one, half finished.
            garbage = draw.integers(-(1 << 23), 1 << 23, machine.units).tolist()
            idle = {"load": 0, "sums": garbage, "job": {"opening": 1}, "instruction": {"rows": 3}}
            cycles += [idle] * (beats - 1 + int(draw.choice([0, 0, 1, 5])))
    return sent, block.play([*cycles, {"load": 0}], OUTPUTS, after=beats)


def test_results_leave_with_their_indices(drain):
    machine, block = drain
    draw = np.random.default_rng(7)
    units = machine.units
    # Whole passes; a last pass of padding but for some rows; fewer rows than one pass has units.
    rows = [16, 27, units, 1, max(1, units - 3), 2 * units + 1]
    instructions = [(Destination.ACTIVATION, n, -(-n // units)) for n in rows]
    sent, seen = play(machine, block, instructions, machine.beats, draw)
    assert not any(s["scores__valid"] for s in seen)
    found = [{} for _ in rows]
    ends = [[] for _ in rows]
    for before, now in zip([None, *seen], seen, strict=False):
        if not now["o__valid"]:
            continue
        number = now["o__operation"]
        # Whoever reads the residual stream has to know the index one cycle ahead.
        assert before["next_index"] == now["o__index"]
        for i in range(machine.writers):
            if now["o__enable"] >> i & 1:
                assert now["o__index"] + i not in found[number]
                found[number][now["o__index"] + i] = now["o__sums"][i]
        if now["o__last"]:
            ends[number].append(now["o__index"])
    for n, sums, seen_rows, last in zip(rows, sent, found, ends, strict=True):
        assert list(seen_rows.items()) == list(enumerate(sums[:n].tolist()))
        assert last == [(n - 1) // machine.writers * machine.writers]


def test_scores_leave_by_heads_without_a_limit_of_rows(drain):
    machine, block = drain
    draw = np.random.default_rng(8)
    instructions = [(Destination.SCORES, 0, passes) for passes in (1, 3, 2)]
    sent, seen = play(machine, block, instructions, machine.score_beats, draw)
    assert not any(s["o__valid"] for s in seen)
    found = [[] for _ in instructions]
    for now in seen:
        if now["scores__valid"]:
            number = now["o__operation"]
            assert now["scores__first"] == (not found[number])
            found[number] += [now["scores__sums"][i] for i in range(machine.score_heads)]
    assert found == [sums.tolist() for sums in sent]


def test_results_follow_scores_without_a_gap(drain):
    machine, block = drain
    draw = np.random.default_rng(9)
    kinds = (Destination.SCORES, Destination.STREAM, Destination.SCORES)
    beats = max(machine.beats, machine.score_beats)
    sent, seen = play(machine, block, [(kind, machine.units, 1) for kind in kinds], beats, draw)
    assert sum(s["o__valid"] for s in seen) == machine.beats
    assert sum(s["scores__valid"] for s in seen) == 2 * machine.score_beats
    results = [s["o__sums"][i] for s in seen if s["o__valid"] for i in range(machine.writers)]
    assert results == sent[1].tolist()
