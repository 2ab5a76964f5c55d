"""Estimates: exact where possible, otherwise close; and the cores that fit each board."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from gptloom.boards.calibration import load_calibration
from gptloom.boards.estimate import (
    ESTIMATED,
    NAMES,
    Estimator,
    mean_cycles,
    sampled_positions,
)
from gptloom.boards.measure import MEASURED_NAMES, measure_folded
from gptloom.boards.results import RESULTS, is_of_text, load_results
from gptloom.boards.size import TERMS, SizeModel
from gptloom.boards.table import BOARDS, find_board
from gptloom.cli.main import main
from gptloom.firmware.machine import Machine
from gptloom.model.checkpoint import load_checkpoint
from gptloom.model.config import ModelConfig
from gptloom.model.errors import UserError
from gptloom.model.family import Family
from gptloom.model.formats import PROFILES
from gptloom.model.quantise import quantise

WITHIN = 0.15
README = Path(__file__).resolve().parents[2] / "README.md"


@pytest.fixture(scope="module")
def estimator(model):
    return Estimator(model, load_calibration().sizes)


@pytest.fixture(scope="module")
def positions(model):
    return sampled_positions(model)


def sizes_of(lut, lut_of_a_lane=0):
    """Return a model of sizes with fixed LUT, and LUT for each lane."""
    nothing = dict.fromkeys(TERMS, 0)
    lut = nothing | {"fixed": lut, "lane": lut_of_a_lane}
    return SizeModel({family: {"lut": lut, "ff": nothing} for family in ("ice40", "ecp5")})


@pytest.mark.nightly
@pytest.mark.parametrize("lanes", [8, 16, 32, 64])
def test_cycles_equal_the_simulations(model, positions, lanes):
    assert NAMES == MEASURED_NAMES
    machine = Machine.for_models(lanes, model.config)
    assert mean_cycles(model, machine, positions) == pytest.approx(
        measure_folded(model, machine), abs=1e-9
    )


def test_cycles_are_those_that_the_readme_quotes(model, positions):
    quoted = re.findall(r"^\| folded, (\d+) lanes \| ([\d.]+) \|", README.read_text(), re.MULTILINE)
    assert [int(lanes) for lanes, _ in quoted] == list(ESTIMATED[Family.MICROGPT])
    for lanes, cycles in quoted:
        machine = Machine.for_models(int(lanes), model.config)
        assert f"{mean_cycles(model, machine, positions):.1f}" == cycles


RECORDED = [result for result in load_results() if result["core"] == "folded"]


# The tops of one are elaborated every day; a difference of all others is one of the records.
@pytest.mark.parametrize(
    "result",
    [RECORDED[0], *(pytest.param(result, marks=pytest.mark.nightly) for result in RECORDED[1:])],
    ids=lambda result: f"{result['board']}-{result['lanes']}",
)
def test_recorded_builds_are_near_their_estimates(result, differences):
    checkpoint = re.search(r"--checkpoint (\S+)", result["command"])
    precision = PROFILES[result["profile"]] if is_of_text(result) else None
    recorded = quantise(load_checkpoint(checkpoint[1] if checkpoint else "names"), precision)
    estimator = Estimator(recorded, load_calibration().sizes)
    board = find_board(result["board"])
    estimate = estimator.estimate(board, result["lanes"], result["constraint_mhz"])
    assert max(differences(estimate, result).values()) <= WITHIN, RESULTS
    assert estimate.fits


def test_a_build_that_differs_is_noticed(estimator, differences):
    estimate = estimator.estimate(BOARDS["ulx3s-25f"], 16)
    figures = estimate.as_dict()
    assert max(differences(estimate, figures).values()) == 0
    for name in ("lut", "ff", "dsp", "bram", "cycles_per_token", "tokens_per_second"):
        assert max(differences(estimate, figures | {name: figures[name] * 1.2}).values()) > WITHIN
    assert "tokens_per_second" not in differences(estimate, figures | {"tokens_per_second": None})


@pytest.mark.parametrize(("board", "lanes"), [("ulx3s-12f", 32), ("ulx3s-45f", 64)])
def test_the_largest_width_that_fits_is_chosen(model, board, lanes):
    # 64 lanes take 25,600 of 24,288 or 43,848.
    chosen = Estimator(model, sizes_of(0, 400)).choose(BOARDS[board])
    assert chosen.lanes == lanes
    assert chosen.fits


def test_some_logic_is_left_for_routing(model):
    board = BOARDS["ulx3s-25f"]
    # Memories in lookup tables take part of it.
    memories = Estimator(model, sizes_of(0)).estimate(board, 8).used["lut"]
    for share, lacking in ((0.98, ()), (0.995, ("lut",))):
        sizes = sizes_of(int(share * 24_288) - memories)
        estimate = Estimator(model, sizes).estimate(board, 8)
        assert estimate.lacking == lacking
        assert estimate.fits is (not lacking)


def test_all_of_a_parts_block_ram_can_be_used(model):
    estimate = Estimator(model, sizes_of(0)).estimate(BOARDS["ulx3s-25f"], 8)
    for available, fits in ((estimate.used["bram"], True), (estimate.used["bram"] - 1, False)):
        other = replace(estimate, available=estimate.available | {"bram": available})
        assert other.fits is fits


@pytest.mark.long
def test_lanes_that_do_not_fit_name_what_does(model):
    estimator = Estimator(model, sizes_of(0, 400))
    with pytest.raises(UserError) as caught:
        estimator.choose(BOARDS["ulx3s-12f"], 64)
    message = str(caught.value)
    assert message.startswith("64 lanes do not fit ulx3s-12f, they take about 2")
    assert "of 24,288 LUT: 32 lanes are the most that do; 64 lanes fit " in message
    fitting = message.rpartition("64 lanes fit ")[2].split(", ")
    assert fitting == ["ulx3s-45f", "ulx3s-85f", "ecpix5-45f", "ecpix5-85f"]


@pytest.mark.parametrize(
    ("lut", "message"),
    [
        (25_000, r"8 lanes do not fit ulx3s-12f.*: nor do fewer; 8 lanes fit ulx3s-45f"),
        (24_000, r"24,\d+ of 24,288 LUT, of which 99% can be routed: nor do fewer"),
        (90_000, "no board holds 8$"),
    ],
)
def test_where_nothing_fits_the_narrowest_is_told_of(model, lut, message):
    with pytest.raises(UserError, match=message):
        Estimator(model, sizes_of(lut)).choose(BOARDS["ulx3s-12f"])


@pytest.mark.long
def test_every_width_is_estimated_widest_first(random_model):
    wide = random_model(ModelConfig(width=32, heads=2, hidden=128))
    estimates = list(Estimator(wide, sizes_of(1)).widths(BOARDS["ulx3s-25f"]))
    assert [estimate.lanes for estimate in estimates] == [64, 32, 16, 8]


def test_another_clock(estimator):
    board = BOARDS["ulx3s-25f"]
    half = estimator.estimate(board, 16, mhz=40)
    assert half.tokens_per_second == round(40e6 / half.cycles_per_token)
    assert half.used == estimator.estimate(board, 16).used


def test_the_command_shows_figures_and_boards(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    file = tmp_path / "estimate.json"
    assert not main(["estimate", "--board", "ulx3s-85f", "--json", str(file)])
    out = capsys.readouterr().out
    assert "folded, 64 lanes, the most that fit" in out
    assert all(name in out for name in BOARDS)
    assert "no, LUT" in out
    figures = json.loads(file.read_text())
    assert figures["lanes"] == figures["dsp"] == 64
    assert figures["fits"] is True
    assert f"{figures['cycles_per_token']:.1f}" in out
    assert figures["tokens_per_second"] == pytest.approx(
        80e6 / figures["cycles_per_token"], rel=1e-4
    )
    assert 0.05 * 83_640 < figures["lut"] < figures["available"]["lut"] == 83_640
    boards = {other["board"]: other for other in figures["boards"]}
    assert list(boards) == list(BOARDS)
    assert boards["icebreaker"]["fits"] is False
    assert boards["ulx3s-85f"]["lut"] == figures["lut"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "name a board, --board NAME"),
        (["--board", "icebraker"], "did you mean icebreaker"),
        (["--board", "icebreaker", "--lanes", "12"], "choose one of 8, 16, 32, 64"),
        (["--board", "icebreaker", "--lanes", "64"], "64 lanes do not fit icebreaker, they take"),
        (["--board", "icebreaker", "--clock", "900"], "the PLL cannot make 900 MHz"),
        (["--board", "icebreaker", "--json", "absent/x.json"], "no folder absent"),
        (["--board", "icebreaker", "--checkpoint", "absent"], "no checkpoint absent"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(
    tmp_path, monkeypatch, capsys, options, message
):
    monkeypatch.chdir(tmp_path)
    assert main(["estimate", *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == error.count("gptloom: error:") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.long
def test_a_text_model_that_does_not_fit_is_told_what_would(capsys):
    options = ["--board", "ulx3s-85f", "--checkpoint", "shakespeare", "--lanes", "128"]
    assert main(["estimate", *options]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "128 lanes do not fit ulx3s-85f, they take about 223 of 208 BRAM" in said
    assert "64 lanes are the most that do" in said
    assert "Weights take 128 block RAMs, 256 rows of the cache 64, and all else 31" in said
    assert "choose --rows 128 --cache window" in said


@pytest.mark.long
def test_a_text_models_estimate_has_what_its_build_would(tmp_path, capsys):
    file = tmp_path / "estimate.json"
    options = ["--board", "ulx3s-85f", "--checkpoint", "shakespeare", "--json", str(file)]
    assert not main(["estimate", *options])
    assert "shakespeare, profile J1, 256 rows" in capsys.readouterr().out
    figures = json.loads(file.read_text())
    assert (figures["lanes"], figures["dsp"], figures["bram"]) == (64, 84, 207)
    assert figures["kl"] < 0.002
    boards = {board["board"]: board["fits"] for board in figures["boards"]}
    assert boards["ulx3s-85f"]
    assert not boards["ulx3s-45f"]


def test_families_of_parts_without_such_cores_are_refused(capsys):
    options = ["--board", "ice40-hx8k", "--checkpoint", "shakespeare"]
    assert main(["estimate", *options]) == 2
    assert "of which none holds a model of the family llama" in capsys.readouterr().err
