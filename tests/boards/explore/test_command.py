"""``gptloom explore``: whole sweeps of a small model."""

import json
import signal
import subprocess
import sys
from functools import partial
from io import BytesIO

import pytest
from PIL import Image
from pretended import until

from gptloom.boards.explore.sweep import front
from gptloom.cli.main import main

pytestmark = pytest.mark.long


@pytest.fixture
def explore(small, tmp_path):
    """Run the command on a small model's cores; return what it writes with --json."""
    fixed = ["--checkpoint", str(small), "--out", str(tmp_path / "sweep.jsonl")]
    fixed += ["--json", str(tmp_path / "summary.json"), "--heads-per-cycle", "1"]

    def run(*options, code=0):
        assert main(["explore", *fixed, *options]) == code
        return json.loads((tmp_path / "summary.json").read_text())

    run.fixed = fixed
    return run


def without_times(outcomes):
    """Return outcomes by their points, without how long each took."""
    return {json.dumps(o["point"]): o | {"seconds": None} for o in outcomes}


def test_a_sweep_is_estimated_shown_and_drawn(explore, tmp_path, capsys):
    plot = tmp_path / "pareto.png"
    options = ["--board", "ulx3s-25f,icebreaker", "--bits-per-cycle", "1,8"]
    options += ["--positions-per-cycle", "2"]
    summary = explore(*options, "--jobs", "2", "--plot", str(plot))
    counts = [summary[name] for name in ("points", "known", "ran", "lost", "usable")]
    assert counts == [10, 0, 10, 0, sum(not o["reason"] for o in summary["outcomes"])]
    assert 0 < summary["usable"] < 10
    assert summary["points_per_hour"] == pytest.approx(10 / summary["seconds"] * 3600, rel=0.05)
    assert sum(summary["left_out"].values()) == 2
    out = capsys.readouterr().out
    assert "2: the unrolled core is made of an ECP5's carry cells" in " ".join(out.split())
    assert out.count("◆  ") == sum(o["front"] for o in summary["outcomes"]) > 1
    for o in summary["outcomes"]:
        speed = f"{o['figures']['tokens_per_second']:,}"
        assert (speed in out) or o["reason"]
        assert not (o["front"] and o["reason"])
    image = Image.open(BytesIO(plot.read_bytes()))
    assert image.size[0] > 500
    # Loss is shown by colour.
    assert len(image.convert("RGB").getcolors(1 << 20)) > 100


def test_the_front_is_of_the_speed_that_is_asked_for(explore):
    options = ["--board", "ulx3s-85f", "--core", "unrolled", "--positions-per-cycle", "1,2"]
    options += ["--bits-per-cycle", "1,2"]
    single = explore(*options)["outcomes"]
    every = explore(*options, "--speed", "all")["outcomes"]
    for outcomes, speed in (
        (single, "tokens_per_second"),
        (every, "aggregate_tokens_per_second"),
    ):
        figures = [o["figures"] for o in outcomes]
        best = front(figures, lambda f, s=speed: (f["lut"], -f[s], f["integer_loss"]))
        assert [o["figures"] for o in outcomes if o["front"]] == best
    assert without_times(single) != without_times(every)


def test_what_is_known_is_not_run_again(explore, tmp_path, monkeypatch, capsys):
    options = ["--board", "ulx3s-25f", "--core", "folded"]
    first = explore(*options, "--lanes", "8,16")
    content = (tmp_path / "sweep.jsonl").read_bytes()
    more = explore(*options, "--lanes", "16,32")
    assert [more[name] for name in ("points", "known", "ran")] == [2, 1, 1]
    assert (tmp_path / "sweep.jsonl").read_bytes().startswith(content)
    capsys.readouterr()
    again = explore(*options, "--lanes", "16,32")
    assert [again[name] for name in ("points", "known", "ran")] == [2, 2, 0]
    assert again["outcomes"] == more["outcomes"]
    assert again["outcomes"][0] | {"front": 0} == first["outcomes"][1] | {"front": 0}
    assert "with 1 points of other sweeps, which are not shown" in " ".join(
        capsys.readouterr().out.split()
    )


@pytest.mark.nightly
def test_an_interrupted_sweep_goes_on(explore, tmp_path):
    options = ["--board", "ulx3s-25f", "--core", "unrolled", "--jobs", "1"]
    options += ["--positions-per-cycle", "1,2", "--bits-per-cycle", "1,2"]
    whole = explore(*options)
    file = tmp_path / "sweep.jsonl"
    file.unlink()
    command = [sys.executable, "-m", "gptloom.cli", "explore", *explore.fixed, *options]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Tests run in the background may ignore SIGINT, which child processes inherit.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    until(lambda: file.exists() and file.read_bytes().count(b"\n") > 1)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=20)
    assert process.returncode == 130
    finished = file.read_bytes().count(b"\n") - 1
    assert 0 < finished < whole["points"]
    assert f"{finished} of {whole['points']} points are in" in error
    assert "Traceback" not in error
    resumed = explore(*options)
    assert [resumed[name] for name in ("known", "ran")] == [finished, whole["points"] - finished]
    assert without_times(resumed["outcomes"]) == without_times(whole["outcomes"])


def test_a_fault_is_told_and_the_exit_code_says_so(explore, monkeypatch, capsys):
    # This function does not exist in the other processes.
    def absent(point, model):
        raise AssertionError

    absent.__qualname__ = "absent"
    absent.__module__ = "gptloom.boards.explore.evaluate"
    monkeypatch.setattr("gptloom.boards.explore.evaluate.estimate_point", absent)
    monkeypatch.setattr("gptloom.boards.explore.evaluate.absent", absent, raising=False)
    summary = explore("--board", "ulx3s-25f", "--core", "folded", "--lanes", "8", code=1)
    assert [summary[name] for name in ("points", "ran", "lost")] == [1, 0, 1]
    assert "1 points are not finished: run the same command again" in capsys.readouterr().err


@pytest.mark.nightly
def test_builds_are_placed_with_every_seed(explore, tmp_path):
    options = ["--board", "ulx3s-25f", "--core", "unrolled", "--positions-per-cycle", "2"]
    options += ["--bits-per-cycle", "1", "--folder", str(tmp_path / "build")]
    summary = explore(*options, "--build", "--seeds", "2")
    assert [summary[name] for name in ("points", "ran", "usable", "lost")] == [2, 2, 2, 0]
    first, second = (o["figures"] for o in summary["outcomes"])
    assert (first["seed"], second["seed"]) == (1, 2)
    assert first["fmax_mhz"] != second["fmax_mhz"]
    for figures in (first, second):
        assert figures["fmax_mhz"] >= figures["constraint_mhz"] == 80
        assert figures["lut"] > 1000
    # The estimates of the same designs are other points of the same file.
    (estimated,) = explore(*options[:-2])["outcomes"]
    for name in ("dsp", "bram", "streams", "cycles_per_token", "tokens_per_second"):
        assert estimated["figures"][name] == first[name], name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--lanes", "8,many"], "--lanes takes whole numbers with commas between, not '8,many'"),
        (["--core", "rolled"], "there is no core rolled: the cores are folded, unrolled"),
        (["--board", "ulx3s-25g"], "did you mean ulx3s-25f?"),
        (["--seeds", "2"], "add --build"),
        (["--jobs", "2", "--scheduler", "tcp://127.0.0.1:1"], "give one"),
        (["--out", "absent/sweep.jsonl"], "no folder absent"),
        (["--plot", "absent/p.png"], "no folder absent"),
        (["--core", "unrolled", "--board", "icebreaker"], "there is nothing to explore: the unr"),
        (["--board", ""], "there is nothing to explore"),
        (["--build", "--native", "--core", "folded"], "is not on the PATH"),
        (["--scheduler", "nowhere"], "no Dask scheduler answers at nowhere"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(
    tmp_path, path, monkeypatch, capsys, options, message
):
    monkeypatch.chdir(path)
    assert main(["explore", *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == error.count("gptloom: error:") == 1
    assert not list(path.iterdir())
