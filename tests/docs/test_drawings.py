"""The drawings agree with the code."""

import runpy
from pathlib import Path

import pytest

from gptloom.firmware import fit

DRAW = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "draw.py"))


def test_the_files_are_what_the_code_draws():
    drawn = {path.name: path.read_text() for path in DRAW["FOLDER"].iterdir()}
    assert drawn == DRAW["pictures"](), "run .venv/bin/python docs/draw.py"


def test_the_table_of_shapes_is_that_of_the_code():
    page = DRAW["LIMITS"].read_text()
    assert page == DRAW["with_shapes"](page), "run .venv/bin/python docs/draw.py"
    for name, most in fit.MOST.items():
        assert f"| {name} | {most:,} |" in page


@pytest.mark.parametrize(
    ("driver", "driven", "port"),
    [
        ("operands", "mac_array", "words"),
        ("mac_array", "drain", "sums"),
        ("ports", "writeback", "temperature"),  # through a register
        ("writeback", "norm", "i"),
        ("softmax", "activations", "write_data"),  # chosen in an If
    ],
)
def test_connections_are_found(driver, driven, port):
    assert port in DRAW["connections"]()[driver, driven]


def test_what_is_not_connected_is_not_drawn():
    found = DRAW["connections"]()
    assert ("norm", "softmax") not in found
    assert all(driver != driven for driver, driven in found)
