"""Points of a sweep."""

from dataclasses import replace

import numpy as np
import pytest

from gptloom.boards.explore.models import Models, digest
from gptloom.boards.explore.point import FOLDED, UNROLLED, Point
from gptloom.boards.explore.space import MERGED_BITS, Space
from gptloom.model.checkpoint import load_checkpoint, save_checkpoint
from gptloom.model.errors import UserError
from gptloom.model.tokenizers.characters import Characters

SPACE = Space(
    boards=("ulx3s-25f", "ulx3s-85f", "icebreaker"),
    cores=(FOLDED, UNROLLED),
    lanes=(8, 64),
    bits=(),
    bits_per_cycle=(1, 2),
    positions=(1, 4, 8),
)


def test_all_combinations_are_there_and_the_impossible_are_told():
    points, left_out = SPACE.points(Models())
    folded = [point for point in points if point.core == FOLDED]
    unrolled = [point for point in points if point.core == UNROLLED]
    assert points == folded + unrolled
    assert {(p.board, p.lanes, p.bits) for p in folded} == {
        (board, lanes, 8) for board in SPACE.boards for lanes in SPACE.lanes
    }
    assert {(p.board, p.bits, p.bits_per_cycle, p.positions) for p in unrolled} == {
        (board, bits, at_once, seen)
        for board in SPACE.boards[:2]
        for bits in MERGED_BITS
        for at_once in SPACE.bits_per_cycle
        for seen in SPACE.positions
    }
    assert len({point.key for point in points}) == len(points) == 3 * 2 + 2 * 4 * 2 * 3
    ((reason, count),) = left_out.items()
    assert "ECP5's carry cells, which the iCE40UP5K of icebreaker does not have" in reason
    assert count == 4 * 2 * 3


def test_few_bits_have_checkpoints_that_were_made_for_them():
    points, _ = replace(SPACE, bits=(8, 6, 5, 4, 3)).points(Models())
    names = {point.bits: point.checkpoint for point in points if point.core == UNROLLED}
    assert names == {8: "names", 6: "names-w6", 5: "names-w5", 4: "names-w4", 3: "names"}


def test_a_checkpoint_has_the_bits_it_was_made_for():
    space = replace(SPACE, checkpoints=("names-w5", "names-kv5"))
    points, _ = space.points(Models())
    merged = {(p.checkpoint, p.bits) for p in points if p.core == UNROLLED}
    assert merged == {("names-w5", 5), ("names-kv5", 8)}
    points, _ = replace(space, bits=(4, 8)).points(Models())
    assert {(p.checkpoint, p.bits) for p in points if p.core == UNROLLED} == {
        (name, bits) for name in space.checkpoints for bits in (4, 8)
    }


def test_the_folded_core_has_8_bit_weights():
    points, left_out = replace(SPACE, bits=(4, 5), seeds=(1, 2)).points(Models())
    assert {point.core for point in points} == {UNROLLED}
    assert left_out["the folded core has 8-bit weights"] == 3 * 2 * 2


def test_all_heads_are_the_same_point_as_their_number():
    space = replace(SPACE, boards=("ulx3s-85f",), cores=(UNROLLED,), bits=(8,))
    usual, _ = space.points(Models())
    said, _ = replace(space, heads_per_cycle=(4,)).points(Models())
    both, _ = replace(space, heads_per_cycle=(None, 4)).points(Models())
    assert usual == said == both
    # The 25F has fewer heads per cycle by default.
    (one, *_), _ = replace(space, boards=("ulx3s-25f",)).points(Models())
    assert one.heads_per_cycle == 1


def test_another_model_of_the_same_name_is_another_point(tmp_path):
    file = tmp_path / "mine.safetensors"
    checkpoint = load_checkpoint("names")
    space = replace(SPACE, checkpoints=(str(file),), boards=("ulx3s-25f",), cores=(FOLDED,))
    save_checkpoint(file, checkpoint)
    before, _ = space.points(Models())
    assert before == space.points(Models())[0]
    weights = {name: np.array(weight) for name, weight in checkpoint.weights.items()}
    weights["lm_head"][0, 0] += 0.01
    save_checkpoint(file, replace(checkpoint, weights=weights))
    after, _ = space.points(Models())
    assert not set(before) & set(after)
    assert not {point.key for point in before} & {point.key for point in after}


@pytest.mark.parametrize("change", ["config", "calibration", "tokenizer"])
def test_a_digest_is_of_all_that_a_model_depends_on(change):
    checkpoint = load_checkpoint("names")
    others = {
        "config": load_checkpoint("names-24").config,
        "calibration": checkpoint.calibration[:-1],
        "tokenizer": Characters(checkpoint.tokenizer.characters[:-1] + "~"),
    }
    changed = replace(checkpoint, **{change: others[change]})
    assert digest(changed) != digest(checkpoint)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"boards": ("ulx3",)}, "there is no board 'ulx3'"), ({"checkpoints": ("absent",)}, "absent")],
)
def test_what_does_not_exist_is_refused(change, message):
    with pytest.raises(UserError, match=message):
        replace(SPACE, **change).points(Models())


def test_points_are_described():
    folded = Point("ulx3s-25f", FOLDED, "names", "0", 8, lanes=16)
    assert folded.describe() == "folded, 16 lanes"
    assert replace(folded, seed=3).describe() == "folded, 16 lanes, seed 3"
    unrolled = Point("ulx3s-25f", UNROLLED, "names", "0", 5, None, 1, 2, 4)
    assert unrolled.describe() == "unrolled, 5-bit weights, 1 x 2 x 4 a cycle"
