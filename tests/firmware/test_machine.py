"""Machines that can be built, and the needs of models."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptloom.firmware.layout import Layout
from gptloom.firmware.machine import LANES, Machine
from gptloom.model.config import ModelConfig
from gptloom.model.errors import UserError


@pytest.mark.parametrize(
    ("lanes", "units", "writers", "beats"),
    [(8, 2, 1, 2), (16, 4, 1, 4), (32, 8, 4, 2), (64, 16, 4, 4)],
)
def test_what_follows_from_the_lanes(lanes, units, writers, beats):
    machine = Machine.for_models(lanes, ModelConfig())
    assert (machine.units, machine.writers, machine.beats) == (units, writers, beats)


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("heads", [1, 2, 4])
def test_scores_of_a_pass_are_heads_times_positions(lanes, heads):
    machine = Machine.for_models(lanes, ModelConfig(heads=heads))
    assert machine.score_heads * machine.score_beats == machine.units
    # A word has keys of several positions, or a position takes several words.
    assert machine.positions_per_word * heads == machine.units * machine.words_per_position


@pytest.mark.parametrize("lanes", [0, 4, 12, 24, 256, -8])
def test_other_lanes_cannot_be_built(lanes):
    with pytest.raises(UserError, match=f"^{lanes} lanes cannot be built: choose one of 8, 16"):
        Machine.for_models(lanes, ModelConfig())


def test_models_of_different_heads_cannot_share_hardware():
    with pytest.raises(UserError, match="different numbers of heads"):
        Machine.for_models(16, ModelConfig(), ModelConfig(heads=2))


SHAPES = st.builds(
    ModelConfig,
    layers=st.integers(1, 3),
    width=st.sampled_from((4, 16, 24, 32)),
    heads=st.just(4),
    hidden=st.sampled_from((16, 36, 96)),
    context=st.sampled_from((4, 8, 16, 64)),
    vocabulary=st.integers(2, 64),
)


@settings(deadline=None, derandomize=True)
@given(st.sampled_from(LANES), st.lists(SHAPES, min_size=1, max_size=3))
def test_memories_hold_all_of_the_models_and_no_more(lanes, configs):
    machine = Machine.for_models(lanes, *configs)
    needs = {"operand_words": [], "activation_words": []}
    for config in configs:
        layout = Layout(machine, config)
        for name, sizes in needs.items():
            sizes.append(getattr(layout, name))
    for name, sizes in needs.items():
        depth, most = getattr(machine, name), max(sizes)
        # Whole block RAMs; within one, all that its address bits reach.
        assert most <= depth < (most + 256 if most > 512 else 2 * max(most, 2))
    # Rows of embeddings begin at powers of two.
    width = max(config.width for config in configs)
    assert machine.stream_elements & (machine.stream_elements - 1) == 0
    assert width <= machine.stream_elements < 2 * width
    assert machine.vocabulary == max(config.vocabulary for config in configs)
    assert machine.context == max(config.context for config in configs)


def test_errors_are_one_sentence():
    for lanes, configs in ((3, [ModelConfig()]), (8, [ModelConfig(vocabulary=4097)])):
        with pytest.raises(UserError) as error:
            Machine.for_models(lanes, *configs)
        assert re.fullmatch(r"[^\n]+: [^\n]+[^.]", str(error.value))
