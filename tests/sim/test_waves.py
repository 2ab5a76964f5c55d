"""Waveform files have the contents of the arrays."""

import os
import threading
from collections import defaultdict

import numpy as np
import pytest
from vcd.reader import TokenKind, tokenize

from gptloom.model.errors import UserError
from gptloom.sim.waves import Wave, write_vcd

CLOCK = 80e6
PERIOD = 12_500


def _read_back(path, cycles):
    """Return, per variable, its value in every cycle (looked up just after the rising edge)."""
    names, scope, time, changes = {}, [], 0, defaultdict(dict)
    with open(path, "rb") as file:
        for token in tokenize(file):
            match token.kind:
                case TokenKind.SCOPE:
                    scope.append(token.data.ident)
                case TokenKind.UPSCOPE:
                    scope.pop()
                case TokenKind.VAR:
                    names[token.data.id_code] = ".".join((*scope, token.data.reference))
                case TokenKind.CHANGE_TIME:
                    time = token.data
                case TokenKind.CHANGE_SCALAR:
                    changes[token.data.id_code][time] = int(token.data.value)
                case TokenKind.CHANGE_VECTOR | TokenKind.CHANGE_STRING:
                    changes[token.data.id_code][time] = token.data.value
    result = {}
    for code, name in names.items():
        present, values = None, []
        for cycle in range(cycles):
            present = changes[code].get(cycle * PERIOD, present)
            values.append(present)
        result[name] = values
    falls = [at for at, value in changes[next(iter(names))].items() if value == 0]
    assert falls == [cycle * PERIOD + PERIOD // 2 for cycle in range(cycles)]
    assert time == cycles * PERIOD
    return result


@pytest.fixture
def recording():
    random = np.random.default_rng(5)
    cycles = 20_000  # more than one block
    return {
        "valid": random.integers(0, 2, cycles).astype(np.uint64),
        "wide": random.integers(0, 1 << 63, cycles).astype(np.uint64) * np.uint64(2),
        "core.count": np.repeat(np.arange(cycles // 8, dtype=np.uint64), 8),
        "token": np.repeat(random.integers(0, 4, cycles // 4), 4).astype(np.uint64),
        "phase": np.repeat(random.integers(0, 3, cycles // 4), 4).astype(np.uint64),
        "text": np.repeat(np.array(["", "a name", "x\\y"]), [1, 3, cycles - 4]),
    }


def test_read_back(tmp_path, recording):
    waves = [
        Wave("valid"),
        Wave("wide", 64),
        Wave("core.count", 12, group="Core", radix="dec"),
        Wave("token", 5, kind="string", labels=["a", "b", " "], group="Tokens"),
        Wave("phase", 2, kind="enum", labels={0: "idle", 2: "fc1 row"}, group="Core"),
        Wave("text", kind="string", group="Tokens"),
    ]
    hint = write_vcd(tmp_path / "w.vcd", recording, waves, CLOCK)
    assert f"gtkwave {tmp_path}/w.gtkw" in hint
    assert f"surfer {tmp_path}/w.vcd" in hint
    assert sorted(path.name for path in tmp_path.iterdir()) == ["w.gtkw", "w.vcd"]

    read = _read_back(tmp_path / "w.vcd", len(recording["valid"]))
    for name in ("valid", "wide", "core.count", "phase"):
        assert read[f"top.{name}"] == recording[name].tolist(), name
    assert read["top.token"] == [["a", "b", r"\x20", "3"][v] for v in recording["token"].tolist()]
    phases = ["idle", "1", r"fc1\x20row"]
    assert read["top.phase_text"] == [phases[v] for v in recording["phase"].tolist()]
    assert read["top.text"] == [
        text.replace("\\", r"\\").replace(" ", r"\x20") for text in recording["text"].tolist()
    ]


def test_save_file_groups(tmp_path, recording):
    waves = [Wave("valid"), Wave("phase", 2, "Core", "enum"), Wave("core.count", 12, "Core")]
    write_vcd(tmp_path / "w.vcd", recording, waves, CLOCK)
    lines = (tmp_path / "w.gtkw").read_text().splitlines()
    assert f'[dumpfile] "{tmp_path}/w.vcd"' in lines
    traces = [line for line in lines if line.startswith(("top.", "-"))]
    assert traces == [
        *("top.clk", "top.valid", "-Core", "top.phase[1:0]", "top.phase_text"),
        *("top.core.count[11:0]", "-Core"),
    ]


def test_only_changes_are_written(tmp_path):
    recording = {"still": np.full(1000, 7, np.uint64)}
    write_vcd(tmp_path / "w.vcd", recording, {"still": 3}, CLOCK)
    assert (tmp_path / "w.vcd").read_text().count("b111 ") == 1


def test_one_cycle(tmp_path):
    write_vcd(tmp_path / "w.vcd", {"a": np.array([1], np.uint64)}, {"a": 1}, CLOCK)
    assert _read_back(tmp_path / "w.vcd", 1)["top.a"] == [1]


@pytest.mark.parametrize(
    "recording",
    [
        {"a": np.zeros(0, np.uint64), "b": np.zeros(0, np.uint64)},
        {"a": np.zeros(3, np.uint64), "b": np.zeros(4, np.uint64)},
        {"a": np.full(3, 2, np.uint64), "b": np.zeros(3, np.uint64)},
    ],
)
def test_bad_arrays_leave_nothing(tmp_path, recording):
    with pytest.raises(ValueError, match=r"length|bits"):
        write_vcd(tmp_path / "w.vcd", recording, {"b": 1, "a": 1}, CLOCK)
    assert not list(tmp_path.iterdir())


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(UserError, match="folder"):
        write_vcd(tmp_path / "no" / "w.vcd", {"a": np.ones(3, np.uint64)}, {"a": 1}, CLOCK)


def test_an_edited_signal_grouping_stays(tmp_path):
    vcd, save = tmp_path / "w.vcd", tmp_path / "w.gtkw"

    def write(name):
        return write_vcd(vcd, {name: np.ones(3, np.uint64)}, {name: 1}, CLOCK)

    write("a")
    # An unchanged view is written again.
    assert "kept" not in write("b")
    assert "top.b" in save.read_text()
    edited = save.read_text() + "top.b\n"
    save.write_text(edited)
    assert "w.gtkw (kept as it is" in write("c")
    assert save.read_text() == edited
    assert "$var wire 1" in vcd.read_text()
    assert " c $end" in vcd.read_text()


def test_another_file_beside_stays(tmp_path):
    (tmp_path / "w.gtkw").write_text("mine")
    write_vcd(tmp_path / "w.vcd", {"a": np.ones(3, np.uint64)}, {"a": 1}, CLOCK)
    assert (tmp_path / "w.gtkw").read_text() == "mine"
    with pytest.raises(UserError, match=r"ends in \.vcd"):
        write_vcd(tmp_path / "w.gtkw", {"a": np.ones(3, np.uint64)}, {"a": 1}, CLOCK)
    assert (tmp_path / "w.gtkw").read_text() == "mine"


def test_a_pipe_gets_the_waveform_and_nothing_is_beside_it(tmp_path):
    pipe, received = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: received.append(pipe.read_text()), daemon=True)
    reader.start()
    said = write_vcd(pipe, {"a": np.ones(3, np.uint64)}, {"a": 1}, CLOCK)
    reader.join(10)
    assert said == f"Wrote {pipe}."
    assert received[0].rstrip().endswith("#37500")
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]
