"""Parsing of nextpnr's reports; the recorded ones are abridged."""

import json
from pathlib import Path

import pytest

from gptloom.boards.build import TimingError, best_of, check_timing
from gptloom.boards.families import FAMILIES
from gptloom.boards.report import Result, bar, design_name, parse_timing
from gptloom.boards.results import BEGIN, END, FIELDS, FIELDS_OF, OF_TEXT, load_results, record
from gptloom.model.errors import UserError
from gptloom.model.loss import CALIBRATION

DATA = Path(__file__).parent / "data"
FIGURES = {
    "board": "ice40-hx8k", "device": "iCE40HX8K-CT256", "core": "folded", "lanes": 8, "bits": 8,
    "fmax_mhz": 85.29, "constraint_mhz": 81.0, "met": True, "lut": 5817, "ff": 2000, "dsp": 0,
    "bram": 26, "cycles_per_token": 546.0, "tokens_per_second": 148352, "integer_loss": 2.1068,
    "loss_set": "3,000 names", "seed": 1, "tools": "yosys 0, nextpnr 0", "command": "gptloom build",
}  # fmt: skip
UNROLLED = FIGURES | {
    "core": "unrolled", "bits_per_cycle": 2, "positions_per_cycle": 4, "heads_per_cycle": 4,
    "streams": 10, "key_bits": 8, "value_bits": 8,
    "cycles_per_token": 40.0, "tokens_per_second": 2_000_000,
    "aggregate_tokens_per_second": 20_000_000, "wall_seconds": 900,
}  # fmt: skip


def load(family):
    return json.loads((DATA / f"{family}.json").read_text())


def test_ice40_report():
    timing = parse_timing(load("ice40"), 1, 81.0)
    assert timing.fmax_mhz == pytest.approx(85.288, abs=1e-3)
    # nextpnr has 81.0045: a period of 12,345 ps.
    assert timing.constraint_mhz == 81.0
    assert timing.met
    assert timing.slack_ns == pytest.approx(1000 / 81 - 1000 / 85.2878, abs=1e-3)
    assert timing.count("ICESTORM_LC") == 5817
    assert timing.count("ICESTORM_RAM") == 26
    assert timing.count("MULT18X18D") == 0
    assert timing.path.points == (
        "core.writeback.requantise_0.mantissa",
        "core.writeback.requantise_0.product",
    )


def test_ecp5_report():
    timing = parse_timing(load("ecp5"), 3, 80.0)
    assert timing.seed == 3
    assert timing.fmax_mhz == pytest.approx(98.377, abs=1e-3)
    assert timing.path.nanoseconds == pytest.approx(1000 / 98.377, abs=0.02)
    assert timing.path.logic_nanoseconds < timing.path.nanoseconds
    assert timing.path.points == ("core.embedding.tokens.memory.0.0", "core.norm.result")
    assert timing.count("MULT18X18D") == 10


@pytest.mark.parametrize(
    ("cell", "name"),
    [
        ("top.core.norm$174.square_0_SB_DFFSR_Q_1_D_SB_MAC16_O_DSP", "core.norm.square_0"),
        ("top.core.mac_array.multiplier_0_1.dsp", "core.mac_array.multiplier_0_1.dsp"),
        ("top.core.norm$174.result_TRELLIS_FF_Q_30", "core.norm.result"),
        ("top.core.operands.unit_0.0.1_RAM", "core.operands.unit_0.0.1_RAM"),
        ("$abc$123$auto$blifparse.cc:535:parse_blif$456", ""),
    ],
)
def test_paths_have_the_designs_names(cell, name):
    assert design_name(cell) == name


def test_a_missed_constraint_is_an_error():
    with pytest.raises(ValueError, match="instead of 48"):
        parse_timing(load("ecp5"), 1, 48.0)
    with pytest.raises(ValueError, match="no clock"):
        parse_timing(load("ecp5") | {"fmax": {}}, 1, 80.0)


def slower(family, mhz, seed=1):
    report = load(family)
    next(iter(report["fmax"].values()))["achieved"] = mhz
    return parse_timing(report, seed, 80.0 if family == "ecp5" else 81.0)


def test_missed_timing_names_path_and_remedies():
    with pytest.raises(TimingError) as caught:
        check_timing(slower("ecp5", 71.9), "--lanes 8")
    message = str(caught.value)
    assert "71.9 MHz instead of 80.0" in message
    assert "core.embedding.tokens.memory.0.0 to core.norm.result" in message
    assert "--seeds" in message
    assert "--clock 71" in message
    assert "--lanes 8" in message
    assert "\n" not in message
    check_timing(slower("ecp5", 80.0))


def test_best_seed_is_the_fastest_then_the_lowest():
    timings = [slower("ecp5", mhz, seed) for seed, mhz in ((3, 90.0), (1, 90.0), (2, 85.0))]
    assert best_of(timings).seed == 1


@pytest.mark.parametrize("met", [True, False])
def test_result_is_shown_and_saved(met):
    timing = slower("ice40", 90.0 if met else 70.0)
    figures = FIGURES | {"met": met, "tokens_per_second": 148352 if met else None}
    result = Result(timing, {1: 70.0, 2: 69.0}, FAMILIES["ice40"], figures)
    saved = json.loads(json.dumps(result.as_dict()))
    assert set(FIELDS) <= set(saved)
    assert saved["utilisation"]["ICESTORM_LC"] == {"used": 5817, "available": 7680}
    assert saved["seeds"] == {"1": 70.0, "2": 69.0}
    text = result.markdown()
    assert ("148,352" in text) is met
    assert ("NOT MET" in text) is not met
    assert "76%" in text
    assert "| held-out loss, integer | 2.1068 |" in text


def test_a_loss_on_calibration_documents_is_not_called_held_out():
    figures = FIGURES | {"loss_set": CALIBRATION}
    rows = Result(slower("ice40", 90.0), {1: 90.0}, FAMILIES["ice40"], figures).rows()
    assert rows["calibration loss, integer"] == "2.1068"


def test_builds_of_the_unrolled_core_tell_both_speeds(tmp_path):
    results, page = tmp_path / "results.json", tmp_path / "boards.md"
    page.write_text(f"{BEGIN}\n{END}\n")
    record(FIGURES, results, page)
    record(UNROLLED, results, page)
    record(UNROLLED | {"bits": 6}, results, page)
    record(UNROLLED | {"key_bits": 5, "value_bits": 4}, results, page)
    assert len(load_results(results)) == 4
    assert "4 heads/cycle, 5-bit keys, 4-bit values, 8-bit weights" in page.read_text()
    rows = Result(slower("ecp5", 81.0), {1: 81.0}, FAMILIES["ecp5"], UNROLLED).rows()
    assert rows["tokens/s"] == "2,000,000"
    assert rows["tokens/s, all streams"] == "20,000,000"
    for text in (page.read_text(), rows["core"]):
        assert (
            "unrolled, 10 streams, 2 bit/cycle, 4 positions/cycle, 4 heads/cycle, 8-bit weights"
            in text
        )
    assert "| 2,000,000 | 20,000,000 |" in page.read_text()


def test_bars_never_leave_their_frame():
    assert [len(bar(share)) for share in (0, 0.5, 1, 1.7)] == [25] * 4
    assert bar(1.7).count("█") == 20


def test_records_are_replaced_not_repeated(tmp_path):
    results, page = tmp_path / "results.json", tmp_path / "boards.md"
    page.write_text(f"before\n{BEGIN}\nprevious\n{END}\nafter\n")
    assert load_results(results) == []
    record(FIGURES, results, page)
    record(FIGURES | {"board": "abc", "extra": 1}, results, page)
    record(FIGURES | {"fmax_mhz": 86.0}, results, page)
    entries = load_results(results)
    assert [(e["board"], e["fmax_mhz"]) for e in entries] == [("abc", 85.29), ("ice40-hx8k", 86.0)]
    assert all(tuple(entry) == FIELDS + FIELDS_OF["folded"] for entry in entries)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "previous" not in text
    assert text.count("ice40-hx8k") == 1
    assert "148,352" in text


def test_texts_are_recorded_beside_names(tmp_path):
    results, page = tmp_path / "results.json", tmp_path / "boards.md"
    page.write_text(f"{BEGIN}\n{END}\n")
    text = FIGURES | {"checkpoint": "stories", "profile": "J1", "rows": 256, "kl": 0.0018}
    for figures in (FIGURES, text, text | {"checkpoint": "shakespeare"}, text | {"fmax_mhz": 99.5}):
        record(figures, results, page)
    entries = load_results(results)
    assert [entry.get("checkpoint") for entry in entries] == [None, "shakespeare", "stories"]
    assert entries[-1]["fmax_mhz"] == 99.5
    assert tuple(entries[-1]) == FIELDS + FIELDS_OF["folded"] + OF_TEXT
    assert "lanes, stories, 256 rows, J1" in page.read_text()
    rows = Result(slower("ice40", 90.0), {1: 90.0}, FAMILIES["ice40"], text).rows()
    assert rows["KL to the float model"] == "0.0018 nats"


def test_recording_needs_a_checkout(tmp_path):
    with pytest.raises(UserError, match="checkout"):
        record(FIGURES, tmp_path / "results.json", tmp_path / "boards.md")
    assert not list(tmp_path.iterdir())
