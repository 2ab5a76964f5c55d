"""Results of points equal those of ``gptloom estimate`` and ``gptloom build``."""

import json
import pickle

import pytest

from gptloom.boards.explore.evaluate import build_point, estimate_point
from gptloom.boards.explore.models import Models
from gptloom.boards.explore.point import FOLDED, UNROLLED
from gptloom.boards.explore.space import Space
from gptloom.boards.tools import ToolError
from gptloom.cli.main import main
from gptloom.model.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")


def only_point(board, core, checkpoint="names", lanes=8, shape=(1, 2, 1), seed=None):
    """Return one point, and its model."""
    models, (bits, positions, heads) = Models(), shape
    space = Space(
        (board,), (core,), (lanes,), (), (bits,), (positions,), (heads,), (checkpoint,), (seed,)
    )
    ((point,), _) = space.points(models)
    return point, models.of(point)


@pytest.mark.parametrize(
    ("core", "options"),
    [
        (FOLDED, ["--lanes", "8"]),
        (
            UNROLLED,
            ["--bits-per-cycle", "1", "--positions-per-cycle", "2", "--heads-per-cycle", "1"],
        ),
    ],
)
def test_estimates_are_those_of_the_command(small, tmp_path, core, options):
    outcome = estimate_point(*only_point("ulx3s-25f", core, str(small)))
    file = tmp_path / "estimate.json"
    options = [*options, "--core", core, "--checkpoint", str(small), "--json", str(file)]
    assert not main(["estimate", "--board", "ulx3s-25f", *options])
    said = json.loads(file.read_text())
    assert outcome.reason is None
    assert outcome.figures == {name: said[name] for name in outcome.figures}
    assert set(said) - set(outcome.figures) <= {"checkpoint", "boards"}


def test_what_does_not_fit_has_figures_and_a_reason():
    outcome = estimate_point(*only_point("icebreaker", FOLDED, lanes=64))
    assert outcome.reason.startswith("too few LUT and FF and ")
    assert outcome.reason.endswith(" on icebreaker")
    assert outcome.lut > outcome.figures["available"]["lut"]


@pytest.mark.parametrize(
    ("core", "wrong", "message"),
    [
        (FOLDED, {"lanes": 12}, "12 lanes cannot be built"),
        (UNROLLED, {"shape": (1, 3, 1)}, "3 positions a cycle: a power of two that divides 16"),
        (UNROLLED, {"shape": (1, 1, 3)}, "3 heads a cycle: a number that divides 4"),
        (UNROLLED, {"shape": (3, 1, 1)}, "3"),
    ],
)
def test_what_is_no_core_has_a_reason(core, wrong, message):
    outcome = estimate_point(*only_point("ulx3s-25f", core, **wrong))
    assert message in outcome.reason
    assert not outcome.figures


@pytest.mark.nightly
@pytest.mark.parametrize(("reached", "met"), [(81.5, True), (70.0, False)])
def test_builds_are_those_of_the_command(build, tmp_path, reached, met):
    # Mock tools that reach `reached` MHz, and 2 or 4 more with other seeds.
    copy = tmp_path / "copy.json"
    assert build(reached, "--seed", "2", "--json", str(copy)) == (0 if met else 1)
    said, folder = json.loads(copy.read_text()), tmp_path / "explore"
    point, model = only_point("ice40-hx8k", FOLDED, seed=2)
    outcome = build_point(point, model, folder, native=True)
    assert outcome.figures == {name: said[name] for name in outcome.figures}
    assert set(outcome.figures) > {"fmax_mhz", "met", "lut", "ff", "cycles_per_token", "tools"}
    assert outcome.figures["fmax_mhz"] == reached + 4
    assert outcome.reason == (None if met else "timing not met: 74.0 MHz of 81.0")
    assert not list(folder.iterdir())


def test_what_does_not_fit_is_not_built(tmp_path):
    point, model = only_point("icebreaker", FOLDED, lanes=64, seed=1)
    assert build_point(point, model, tmp_path).reason.startswith("too few ")
    assert not list(tmp_path.iterdir())


@pytest.mark.long
def test_a_tool_that_fails_is_a_reason_and_one_that_is_killed_is_not(build, pretend, tmp_path):
    build.tools(90)
    folder = tmp_path / "explore"
    point, model = only_point("ice40-hx8k", FOLDED, seed=1)
    pretend("nextpnr-ice40", "print('ERROR: no route'); sys.exit(3)")
    outcome = build_point(point, model, folder, native=True)
    (left,) = folder.iterdir()
    assert outcome.reason.startswith("nextpnr-ice40 failed with code 3 (no route)")
    assert str(left) in outcome.reason
    pretend("nextpnr-ice40", "import os; os.kill(os.getpid(), 9)")
    with pytest.raises(ToolError, match="ended by signal 9") as caught:
        build_point(point, model, folder, native=True)
    # The error arrives intact from another process.
    error = pickle.loads(pickle.dumps(caught.value))
    assert (str(error), error.output, error.code) == (str(caught.value), "", -9)


def test_a_missing_tool_is_no_result(path, tmp_path):
    point, model = only_point("ice40-hx8k", FOLDED, seed=1)
    with pytest.raises(UserError, match="yosys is not on the PATH"):
        build_point(point, model, tmp_path / "explore", native=True)
    assert not (tmp_path / "explore").exists()
