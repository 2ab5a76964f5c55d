"""The fitted model against the designs it was fitted on, and against others."""

import json
import stat
import sys

import pytest

from gptloom.boards import calibration
from gptloom.boards.calibration import DESIGNS, load_calibration, make_model, point
from gptloom.boards.estimate import cells, placed_memories
from gptloom.boards.size import FIGURES, TERMS, Point, SizeModel, fit
from gptloom.boards.table import find_board
from gptloom.boards.tools import Tools
from gptloom.cli.main import main
from gptloom.firmware.machine import Machine

WITHIN = 0.15
KINDS = ("ice40", "ecp5", "ecp5, gated")


@pytest.fixture(scope="module")
def record():
    return load_calibration()


@pytest.fixture(scope="module")
def points(record):
    """Return kind and point of every recorded design, in the record's order."""
    return [(design.kind, point(design)) for design in record.designs]


def largest_error(model, kind, made):
    size = model.size(kind, made.terms)
    return max(abs(size[figure] / made.size[figure] - 1) for figure in FIGURES)


def test_the_record_is_of_the_designs_that_are_asked_for(record):
    assert [(d.board, d.lanes, d.model) for d in record.designs] == list(DESIGNS)
    assert all(name in record.tools for name in ("yosys", "nextpnr-ice40", "nextpnr-ecp5"))


@pytest.mark.nightly
def test_multipliers_and_block_ram_are_exact(record):
    for design in record.designs:
        model, board = make_model(design.model), find_board(design.board)
        machine = Machine.for_models(design.lanes, model.config)
        assert cells(board, machine) == design.dsp, design
        assert placed_memories(model, machine, find_board(design.board)).blocks == design.bram, (
            design
        )


@pytest.mark.long
def test_the_model_is_near_every_design(record, points):
    for design, (kind, made) in zip(record.designs, points, strict=True):
        assert largest_error(record.sizes, kind, made) <= WITHIN, design


@pytest.mark.nightly
def test_the_model_is_near_designs_that_it_was_not_fitted_on(record, points):
    for number, (kind, left_out) in enumerate(points):
        others = [p for i, (k, p) in enumerate(points) if k == kind and i != number]
        model = SizeModel({kind: fit(others)})
        assert largest_error(model, kind, left_out) <= WITHIN, record.designs[number]


@pytest.mark.long
def test_the_recorded_coefficients_are_the_recorded_designs(record, points):
    assert {kind for kind, _ in points} == set(KINDS) == set(record.sizes.coefficients)
    for kind in KINDS:
        fitted = fit(p for k, p in points if k == kind)
        for figure in FIGURES:
            assert fitted[figure] == pytest.approx(
                record.sizes.coefficients[kind][figure], abs=0.02
            )


def test_fitting_finds_known_coefficients():
    truth = {
        figure: dict(zip(TERMS, (500 * scale, 300, 50, 700, 200, 110, 20), strict=True))
        for figure, scale in zip(FIGURES, (1, 2), strict=True)
    }
    counts = [(1, 1, 8, 1, 4, 8, 0), (1, 0, 16, 1, 4, 3, 0), (1, 0, 32, 4, 4, 0, 32),
              (1, 0, 64, 4, 2, 44, 0), (1, 0, 16, 1, 1, 16, 0), (1, 0, 64, 4, 4, 0, 128),
              (1, 1, 8, 1, 2, 0, 0), (1, 0, 64, 4, 4, 0, 64)]  # fmt: skip
    points = []
    for memory, count in enumerate(counts):
        terms = dict(zip(TERMS, count, strict=True)) | {"memory": 100 * memory}
        points.append(Point(terms, SizeModel({"x": truth}).size("x", terms)))
    fitted = fit(points)
    for figure in FIGURES:
        assert fitted[figure] == pytest.approx(truth[figure], abs=0.5)
    # The logic of memories is known and counted exactly; it has no flip-flops.
    assert points[1].size["lut"] == 500 + 50 * 16 + 700 + 200 * 4 + 110 * 3 + 100
    assert points[1].size["ff"] == 1000 + 50 * 16 + 700 + 200 * 4 + 110 * 3


YOSYS = """\
import json
cells = [{"type": "SB_DFFE"}, {"type": "TRELLIS_FF"}, {"type": "SB_LUT4"}]
json.dump({"modules": {"top": {"cells": dict(enumerate(cells))}}}, open("top.json", "w"))
"""
NEXTPNR = """\
import json, sys
assert "--pack-only" in sys.argv
kinds = ("ICESTORM_LC", "ICESTORM_RAM", "TRELLIS_COMB", "DP16KD", "MULT18X18D")
used = {kind: {"used": 1000 + i, "available": 1} for i, kind in enumerate(kinds)}
report = sys.argv[sys.argv.index("--report") + 1]
json.dump({"utilization": used}, open(report, "w"))
"""


@pytest.fixture
def pretended(tmp_path, monkeypatch):
    """Make mock tools, and two designs for them."""
    folder = tmp_path / "tools"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    for name, code in {"yosys": YOSYS, "nextpnr-ice40": NEXTPNR, "nextpnr-ecp5": NEXTPNR}.items():
        file = folder / name
        version = f"import sys\nif '--version' in sys.argv: sys.exit(print('{name} 1'))"
        file.write_text(f"#!{sys.executable}\n{version}\n{code}\n")
        file.chmod(file.stat().st_mode | stat.S_IEXEC)
    designs = (("ice40-hx8k", 8, "names"), ("ulx3s-25f", 16, {"heads": 2}))
    monkeypatch.setattr(calibration, "DESIGNS", designs)
    monkeypatch.setattr(calibration, "CALIBRATION", tmp_path / "calibration.json")
    return tmp_path


@pytest.mark.long
def test_calibrating_records_what_the_tools_say(pretended, capsys):
    folder = pretended / "designs"
    assert not main(["estimate", "--calibrate", "--native", "--folder", str(folder)])
    record = load_calibration(pretended / "calibration.json")
    assert record.tools == "yosys 1, nextpnr-ice40 1, nextpnr-ecp5 1"
    ice40, ecp5 = record.designs
    assert (ice40.lut, ice40.ff, ice40.dsp, ice40.bram) == (1000, 1, 0, 1001)
    assert (ecp5.lut, ecp5.ff, ecp5.dsp, ecp5.bram) == (1002, 1, 1004, 1003)
    # A single design is fitted exactly.
    assert record.sizes.size("ice40", point(ice40).terms)["lut"] == pytest.approx(1000, abs=2)
    assert "1,002" in capsys.readouterr().out
    assert {file.name for file in folder.iterdir()} == {
        "ice40-hx8k-8-names", "ulx3s-25f-16-heads2"
    }  # fmt: skip


def test_tools_that_fail_leave_the_record_alone(pretended, capsys):
    (pretended / "tools" / "nextpnr-ecp5").unlink()
    options = ["--calibrate", "--native", "--folder", str(pretended / "designs")]
    assert main(["estimate", *options]) == 2
    assert "nextpnr-ecp5 is not on the PATH" in capsys.readouterr().err
    assert not (pretended / "calibration.json").exists()


def test_calibrating_needs_a_checkout(pretended, monkeypatch, capsys):
    monkeypatch.setattr(calibration, "PAGE", pretended / "absent.md")
    assert main(["estimate", "--calibrate", "--folder", str(pretended / "designs")]) == 2
    assert "of a checkout" in capsys.readouterr().err
    assert not (pretended / "designs").exists()


def test_all_tools_are_known():
    assert all(Tools().version(name) for name in ("yosys", "nextpnr-ice40", "nextpnr-ecp5"))


def test_the_record_is_json_of_its_own_making(record, tmp_path):
    copy = tmp_path / "calibration.json"
    calibration.save_calibration(record, copy)
    assert json.loads(copy.read_text()) == json.loads(calibration.CALIBRATION.read_text())
