"""Tables and pages of ``gptloom bench``; the repository's own ones equal the recorded figures."""

import copy
import io
import json
import re
import shutil

import pytest
from PIL import Image

from gptloom.boards.comparison import compare, tables, with_records
from gptloom.boards.lineup import measure_folded_cores, measure_unrolled_cores
from gptloom.boards.pages import (
    HOME,
    IN_README,
    PAGE,
    PICTURE,
    README,
    RECORD,
    markdown,
    with_tables,
    write_pages,
)
from gptloom.boards.report import describe_core
from gptloom.boards.results import is_of_text, load_results
from gptloom.boards.speed_plot import HERE, OTHERS, OURS, bars, draw_speeds
from gptloom.model.errors import UserError
from gptloom.sim.baseline.measure import SoftwareSpeed
from gptloom.sim.engines import open_engine
from gptloom.sim.peers import load_peers

RECORDED = json.loads((HOME / RECORD).read_text())
README_TEXT = (HOME / README).read_text()
FOLDED = {
    "core": "folded", "lanes": 16, "bits": 8, "streams": 1, "checkpoint": "names", "tokens": 30,
    "cycles_per_token": 320.0, "cycles_by_position": [310.0, 330.0, 340.4], "integer_loss": 2.1,
}  # fmt: skip
UNROLLED = {
    "core": "unrolled", "bits": 6, "bits_per_cycle": 1, "positions_per_cycle": 1,
    "heads_per_cycle": 1, "streams": 5, "checkpoint": "names-w6", "tokens": 30,
    "cycles_per_token": 80.0, "cycles_per_token_of_all": 16.0,
    "cycles_by_position": [80.0, 80.0], "integer_loss": 2.2,
}  # fmt: skip
SOFTWARE = [
    SoftwareSpeed("C", "cc 1", 9_000_000, 8_000_000, 2.12),
    SoftwareSpeed("PyTorch", missing="install it"),
]
MACHINE = {"cpu": "a CPU", "names": 3, "temperature": 0.7, "repetitions": 5}


@pytest.fixture(scope="module")
def figures():
    return json.loads(json.dumps(compare([FOLDED, UNROLLED], SOFTWARE, MACHINE)))


def test_tables_say_what_was_measured(figures):
    made = tables(figures)
    assert made["cores"].rows == [
        ("folded, 16 lanes", "320.0", "250,000", "", "2.1000"),
        ("unrolled, 6-bit weights, 5 streams", "80.0", "1,000,000", "5,000,000", "2.2000"),
    ]
    assert made["positions"].rows == [("0", "310", "80"), ("1", "330", "80"), ("2", "340", "")]
    assert made["software"].rows == [
        ("C", "cc 1", "9,000,000", "2.1200"),
        ("PyTorch", "not measured: install it", "", ""),
    ]
    assert len(made["peers"].rows) == len(load_peers())
    for table in made.values():
        assert {len(row) for row in table.rows} == {len(table.columns)}
        lines = table.markdown().splitlines()
        assert {line.count("|") for line in lines} == {len(table.columns) + 1}


def test_builds_are_the_fastest_of_each_core_that_met_its_clock(figures):
    rows = tables(figures)["builds"].rows
    # Chips that write text run other models, and are not compared with these.
    builds = [build for build in load_results() if build["met"] and not is_of_text(build)]
    assert len(rows) == len({describe_core(build) for build in builds})
    for build in builds:
        others = [b for b in builds if describe_core(b) == describe_core(build)]
        is_best = build["fmax_mhz"] == max(b["fmax_mhz"] for b in others)
        shown = [row for row in rows if f"({build['device']})" in row[0]
                 and row[3] == f"{build['tokens_per_second']:,}"]  # fmt: skip
        assert not is_best or shown


def test_builds_that_miss_their_clock_are_left_out(monkeypatch):
    missed = [build | {"met": False, "tokens_per_second": None} for build in load_results()]
    monkeypatch.setattr("gptloom.boards.comparison.load_results", lambda: missed)
    assert tables(compare([FOLDED], SOFTWARE, MACHINE))["builds"].rows == []


def test_the_plot_has_all_that_have_a_speed(figures):
    shown = list(bars(figures))
    known = [peer for peer in load_peers() if peer.tokens_per_second]
    assert [bar.whose for bar in shown] == [OURS, OURS, HERE] + [OTHERS] * len(known)
    assert shown[1].tokens_per_second == 1e6
    with Image.open(io.BytesIO(draw_speeds(figures))) as image:
        assert image.format == "PNG"
        assert image.width > 1000


def test_the_page_has_all_tables_and_no_picture_that_is_not_there(figures):
    page = markdown(figures, "")
    for table in tables(figures).values():
        assert table.markdown() in page
    assert "![" not in page
    assert "](speed.png)" in markdown(figures, "speed.png")


def test_the_repositorys_pages_say_what_is_recorded():
    again = "run ./loom bench --pages"
    assert json.loads(json.dumps(with_records(RECORDED))) == RECORDED, again
    assert with_tables(README_TEXT, tables(RECORDED)) == README_TEXT, again
    assert markdown(RECORDED) == (HOME / PAGE).read_text(), again


@pytest.mark.parametrize(
    ("part", "field"),
    [
        ("cores", "cycles_per_token"),
        ("software", "tokens_per_second"),
        ("builds", "tokens_per_second"),
    ],
)
def test_a_figure_that_changes_is_noticed(part, field):
    changed = copy.deepcopy(RECORDED)
    changed[part][0][field] += 1
    assert with_tables(README_TEXT, tables(changed)) != README_TEXT
    assert markdown(changed) != markdown(RECORDED)


def test_the_record_is_of_all_cores_and_agrees_with_the_builds():
    cores = {(c["core"], c.get("lanes", c["checkpoint"])): c for c in RECORDED["cores"]}
    assert [*cores] == [
        *(("folded", lanes) for lanes in (8, 16, 32, 64)),
        *(("unrolled", name) for name in ("names-w6", "names", "names-w5")),
    ]
    assert not any(speed["missing"] for speed in RECORDED["software"])
    for core in RECORDED["cores"]:
        shape = {"bits_per_cycle", "positions_per_cycle", "heads_per_cycle"}
        alike = {"core", "lanes", "bits", *shape}
        for build in RECORDED["builds"]:
            if all(build.get(key) == core.get(key) for key in alike):
                assert build["cycles_per_token"] == round(core["cycles_per_token"], 2)
                speed = build["constraint_mhz"] * 1e6 / core["cycles_per_token"]
                # The PLL's clock is accurate to a thousandth.
                assert build["tokens_per_second"] == pytest.approx(speed, rel=1e-3)


def test_the_readme_quotes_the_peers_cycles():
    for peer in load_peers():
        if peer.cycles_per_token:
            assert re.search(rf"{peer.name}.{{0,40}}{peer.cycles_per_token:,}",
                             README_TEXT.replace("\n", " "))  # fmt: skip


def test_pages_are_made_from_the_record(tmp_path):
    (tmp_path / "docs").mkdir()
    shutil.copy(HOME / README, tmp_path / README)
    changed = copy.deepcopy(RECORDED)
    changed["cores"][0]["cycles_per_token"] = 1234.5
    del changed["peers"]
    (tmp_path / RECORD).write_text(json.dumps(changed))
    write_pages(tmp_path)
    assert "| 1234.5 |" in (tmp_path / README).read_text()
    assert "| 1234.5 |" in (tmp_path / PAGE).read_text()
    assert json.loads((tmp_path / RECORD).read_text())["peers"] == RECORDED["peers"]
    assert (tmp_path / PICTURE).read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_made_leaves_all_as_it_was(tmp_path):
    with pytest.raises(UserError, match=r"bench\.json is missing"):
        write_pages(tmp_path)
    (tmp_path / "docs").mkdir()
    shutil.copy(HOME / RECORD, tmp_path / RECORD)
    without = README_TEXT.replace(f"<!-- end of {IN_README[-1]} -->", "")
    (tmp_path / README).write_text(without)
    with pytest.raises(UserError, match="no place for the table software"):
        write_pages(tmp_path)
    assert (tmp_path / README).read_text() == without
    assert not (tmp_path / PAGE).exists()


@pytest.mark.xdist_group("names, 16 lanes")
def test_a_position_takes_the_same_cycles_in_few_names():
    (measured,) = measure_folded_cores([16], 2, open_engine)
    (recorded,) = (core for core in RECORDED["cores"] if core.get("lanes") == 16)
    cycles = measured["cycles_by_position"]
    assert len(cycles) > 2
    assert cycles == recorded["cycles_by_position"][: len(cycles)]
    assert min(cycles) <= measured["cycles_per_token"] <= max(cycles)


@pytest.mark.parametrize(
    "lanes",
    [pytest.param(16, marks=pytest.mark.long), pytest.param(64, marks=pytest.mark.nightly)],
)
def test_folded_cores_still_take_the_recorded_cycles(lanes):
    (measured,) = measure_folded_cores([lanes], RECORDED["machine"]["names"], open_engine)
    assert measured in RECORDED["cores"]


@pytest.mark.nightly
def test_unrolled_cores_still_take_the_recorded_cycles():
    measured = next(measure_unrolled_cores(RECORDED["machine"]["names"], open_engine))
    assert measured in RECORDED["cores"]
