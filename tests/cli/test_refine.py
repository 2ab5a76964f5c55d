"""Bad input to ``gptloom refine``; what it does with good input is in tests/model/merged."""

import pytest

from gptloom.cli.refine import refine
from gptloom.model.errors import UserError


@pytest.mark.parametrize(
    ("file", "options", "fault"),
    [
        ("out.safetensors", {"bits": 1}, "1 bits are no width for weights"),
        ("out.safetensors", {"bits": 4, "steps": -1}, "quantisation-aware steps"),
        ("out.bin", {"bits": 4}, r"\.safetensors"),
        ("absent/out.safetensors", {"bits": 4}, "no folder"),
        ("out.safetensors", {"bits": 4, "checkpoint": "nothing"}, "no checkpoint nothing"),
    ],
)
def test_bad_input_is_named_before_training(tmp_path, file, options, fault):
    with pytest.raises(UserError, match=fault):
        refine(tmp_path / file, **options)
    assert not list(tmp_path.iterdir())
