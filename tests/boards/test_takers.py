"""Cores and boards that take a shape, compared with builds and images of a real model."""

import pytest

from gptloom.boards.calibration import load_calibration
from gptloom.boards.estimate import Estimator
from gptloom.boards.takers import UNROLLED, find_boards, find_takers
from gptloom.firmware.image import build_image
from gptloom.firmware.machine import LANES, Machine
from gptloom.model.checkpoint import load_checkpoint
from gptloom.model.config import ModelConfig
from gptloom.model.errors import UserError
from gptloom.model.quantise import quantise
from gptloom.model.tokenizers.characters import Characters
from gptloom.model.tokenizers.pieces import Pieces

pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")


def tokenizer(config):
    return Characters("".join(chr(ord("!") + i) for i in range(config.vocabulary - 1)))


def refusal(model, lanes):
    try:
        build_image(model, Machine.for_models(lanes, model.config))
    except UserError as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    "config",
    [
        ModelConfig(),
        ModelConfig(heads=8),
        ModelConfig(vocabulary=66),
        ModelConfig(width=10, heads=2),
        ModelConfig(context=64),
        ModelConfig(layers=3, width=48, hidden=128, context=32),
        ModelConfig(heads=2, width=60, hidden=120),
    ],
    ids=str,
)
def test_folded_cores_refuse_a_shape_in_the_words_in_which_they_refuse_a_model(
    config, random_model
):
    takers = find_takers(config, tokenizer(config))
    model = random_model(config)
    expected = {lanes: refusal(model, lanes) for lanes in LANES}
    assert {lanes: takers.refusals.get(lanes) for lanes in LANES} == expected
    assert takers.lanes == tuple(lanes for lanes in LANES if expected[lanes] is None)


@pytest.mark.parametrize("rows", [24, 2, 16])
def test_so_does_the_unrolled_one(rows):
    config = ModelConfig(context=rows)
    takers = find_takers(config, tokenizer(config))
    assert takers.unrolled == (UNROLLED not in takers.refusals) == (rows != 24)
    if not takers.unrolled:
        assert "only powers of two" in takers.refusals[UNROLLED]


def test_what_no_core_takes_is_refused_with_the_words_of_both(random_model):
    config = ModelConfig(width=10, heads=2, context=24)
    with pytest.raises(UserError) as raised:
        find_takers(config, tokenizer(config))
    assert refusal(random_model(config), LANES[-1]) in str(raised.value)
    assert "24 rows: only powers of two" in str(raised.value)


def test_boards_are_those_that_the_estimate_of_a_trained_model_names():
    model = quantise(load_checkpoint("names"))
    estimator = Estimator(model, load_calibration().sizes)
    # Not all boards: an iCEBreaker holds 8 lanes.
    expected = [each.board.name for each in estimator.everywhere(16) if each.fits]
    assert find_boards(model.config, model.tokenizer, 16) == expected
    assert "ulx3s-25f" in expected
    assert "icebreaker" not in expected


def test_no_board_shows_pieces_of_text():
    with pytest.raises(UserError, match="this model's tokens are pieces of text"):
        find_boards(ModelConfig(vocabulary=3), Pieces([b"<unk>", b"<s>", b"ab"], [0.0] * 3), 8)


def test_no_board_shows_other_characters_than_ascii():
    with pytest.raises(UserError, match="'é' cannot be sent"):
        find_boards(ModelConfig(vocabulary=3), Characters("aé"), 8)
