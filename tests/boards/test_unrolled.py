"""The unrolled core on boards: refusals, estimates, and the bitstream of a small one."""

import json
import re

import pytest

from gptloom.boards.results import load_results
from gptloom.boards.table import BOARDS, find_board
from gptloom.boards.unrolled import choice_for
from gptloom.boards.unrolled_estimate import estimate_unrolled
from gptloom.cli.main import main
from gptloom.hdl.unrolled.shape import Shape
from gptloom.model.checkpoint import load_checkpoint
from gptloom.model.merged.quantise import quantise

RECORDED = [entry for entry in load_results() if entry["core"] == "unrolled"]


@pytest.mark.parametrize("command", ["build", "estimate"])
def test_boards_without_carry_cells_are_refused(command, capsys):
    assert main([command, "--core", "unrolled", "--board", "icebreaker"]) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert "an ECP5's carry cells, which the iCE40UP5K of icebreaker does not have" in error


@pytest.mark.parametrize("command", ["build", "estimate"])
def test_options_of_the_other_core_are_refused(command, capsys):
    options = ["--board", "ulx3s-25f"]
    assert main([command, *options, "--core", "unrolled", "--lanes", "8"]) == 2
    assert main([command, *options, "--positions-per-cycle", "2"]) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert "--lanes belong to --core folded" in error
    assert "--positions-per-cycle belong to --core unrolled" in error


def test_every_ecp5_has_a_choice():
    boards = [board for board in BOARDS.values() if board.family.name == "ecp5"]
    assert len(boards) > 5
    for board in boards:
        assert load_checkpoint(choice_for(board).checkpoint).config.layers == 1


@pytest.mark.nightly
@pytest.mark.parametrize("entry", RECORDED, ids=lambda e: f"{e['board']}-{e['bits']}")
def test_recorded_builds_are_as_estimated(entry):
    checkpoint = re.search(r"--checkpoint (\S+)", entry["command"])[1]
    shape = Shape(*(entry[f"{name}_per_cycle"] for name in ("bits", "positions", "heads")))
    model = quantise(load_checkpoint(checkpoint))
    figures = estimate_unrolled(find_board(entry["board"]), model, shape).as_dict()
    for name in ("dsp", "bram", "streams", "bits", "cycles_per_token", "tokens_per_second"):
        assert figures[name] == entry[name], name
    for name in ("lut", "ff", "aggregate_tokens_per_second"):
        assert figures[name] == pytest.approx(entry[name], rel=0.15), name


@pytest.mark.nightly
def test_too_many_multipliers_are_refused_before_synthesis(capsys):
    options = ["--board", "ulx3s-25f", "--core", "unrolled", "--bits-per-cycle", "2"]
    assert main(["build", *options, "--heads-per-cycle", "4"]) == 2
    assert "has 28: choose fewer" in " ".join(capsys.readouterr().err.split())


@pytest.mark.long
def test_estimates_are_printed(capsys):
    options = ["--board", "ulx3s-85f", "--core", "unrolled"]
    assert not main(["estimate", *options])
    printed = capsys.readouterr()
    assert "20,000,000" in printed.out
    assert "never used" not in printed.err


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("option", "says"), [("--framed", "weights are logic"), ("--instruments", "use --core folded")]
)
def test_commands_need_something_to_command(option, says, capsys):
    options = ["--board", "ulx3s-25f", "--core", "unrolled", option]
    assert main(["build", *options]) == 2
    assert says in " ".join(capsys.readouterr().err.split())


@pytest.mark.nightly
def test_a_small_bitstream(small, tmp_path):
    options = ["--core", "unrolled", "--positions-per-cycle", "2", "--heads-per-cycle", "1"]
    options += ["--checkpoint", str(small), "--folder", str(tmp_path)]
    assert not main(["build", "--board", "ulx3s-25f", *options])
    (folder,) = tmp_path.glob("ulx3s-25f-unrolled-w8k8v8-1x2x1x*")
    report = json.loads((folder / "report.json").read_text())
    assert report["met"]
    assert report["fmax_mhz"] >= 80
    # A preamble of ECP5 bitstreams.
    bitstream = folder / f"{folder.name}.bit"
    assert b"\xff\xff\xbd\xb3" in bitstream.read_bytes()[:1000]
    shape = Shape(bits_per_cycle=1, positions_per_cycle=2, heads_per_cycle=1)
    model = quantise(load_checkpoint(str(small)))
    figures = estimate_unrolled(find_board("ulx3s-25f"), model, shape).as_dict()
    for name in ("dsp", "bram", "streams", "cycles_per_token", "tokens_per_second"):
        assert report[name] == figures[name], name
