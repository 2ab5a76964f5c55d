import json

import pytest

from gptloom.model.config import ModelConfig
from gptloom.model.errors import UserError


@pytest.mark.parametrize(
    ("config", "parameters"),
    [
        (ModelConfig.MICROGPT, 4192),
        (ModelConfig.GATEGPT, 8592),
        (ModelConfig.TWO_LAYER, 7264),
    ],
)
def test_published_parameter_counts(config, parameters):
    assert config.parameters == parameters


def test_microgpt_is_the_default():
    assert ModelConfig() == ModelConfig.MICROGPT == ModelConfig(1, 16, 4, 64, 16, 27)
    assert ModelConfig().head_width == 4
    assert ModelConfig(1, 24, 4, 96, 16, 27) == ModelConfig.GATEGPT
    assert ModelConfig(2, 16, 4, 64, 16, 27) == ModelConfig.TWO_LAYER


@pytest.mark.parametrize(
    ("dimensions", "named"),
    [
        ({"layers": 0}, "layers"),
        ({"width": -16}, "width"),
        ({"hidden": 64.0}, "hidden"),
        ({"hidden": True}, "hidden"),
        ({"context": "16"}, "context"),
        ({"context": 1}, "context"),
        ({"vocabulary": 1}, "vocabulary"),
        ({"heads": 3, "width": 18}, "heads"),
        ({"heads": 4, "width": 18}, "width"),
        ({"positions": "absolute"}, "learned or alibi or rotary"),
    ],
)
def test_impossible_dimensions_are_named(dimensions, named):
    with pytest.raises(UserError, match=named):
        ModelConfig(**dimensions)


def test_survives_json_form():
    alibi = ModelConfig(positions="alibi")
    for config in (ModelConfig.GATEGPT, alibi):
        assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    # Checkpoints older than this option lack the field.
    assert "positions" not in ModelConfig().to_dict()


def test_alibi_has_no_positions_to_learn():
    assert ModelConfig(positions="alibi").parameters == 4192 - 16 * 16


@pytest.mark.parametrize(
    ("dimensions", "named"),
    [
        ({"eviction": "window"}, "learned positions end after 16 tokens"),
        ({"eviction": "attention"}, "trained with --positions alibi"),
        ({"eviction": "oldest"}, "none or window or attention"),
        ({"positions": "alibi", "sinks": 4}, "only a window has them"),
        ({"positions": "alibi", "eviction": "window", "sinks": 16}, "less than its 16 rows"),
        ({"positions": "alibi", "eviction": "attention", "sinks": 1}, "only a window"),
    ],
)
def test_caches_that_cannot_be_are_refused(dimensions, named):
    with pytest.raises(UserError, match=named):
        ModelConfig(**dimensions)


def test_with_eviction_there_is_no_end():
    config = ModelConfig(positions="alibi", eviction="window", sinks=2)
    assert config.endless
    assert ModelConfig.from_dict(config.to_dict()) == config
    assert not ModelConfig(positions="alibi").endless


@pytest.mark.parametrize("change", [{"depth": 1}, {"layers": None}])
def test_foreign_dictionaries_are_refused(change):
    with pytest.raises(UserError):
        ModelConfig.from_dict({**ModelConfig().to_dict(), **change})
    with pytest.raises(UserError, match="width"):
        ModelConfig.from_dict({"layers": 1})
    with pytest.raises(UserError):
        ModelConfig.from_dict([1, 16])
