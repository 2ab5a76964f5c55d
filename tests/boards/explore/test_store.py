"""The file of a sweep: after any interruption it can be read and resumed."""

import json
import os
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from pretended import figures_of, make_points

from gptloom.boards.explore.point import Outcome
from gptloom.boards.explore.store import Store
from gptloom.model.errors import UserError

OUTCOMES = [
    Outcome(point, figures_of(point.lanes), None if point.lanes else "too few LUT", 0.5)
    for point in make_points(4)
]


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """Return the contents of a file with four points."""
    file = tmp_path_factory.mktemp("store") / "sweep.jsonl"
    with Store(file) as store:
        for outcome in OUTCOMES:
            store.add(outcome)
    return file.read_bytes()


def test_what_is_kept_is_read_back(tmp_path, content):
    file = tmp_path / "sweep.jsonl"
    file.write_bytes(content)
    with Store(file) as store:
        assert list(store.outcomes) == OUTCOMES
        with pytest.raises(ValueError, match="is finished already"):
            store.add(replace(OUTCOMES[0], seconds=1.0))
    assert file.read_bytes() == content


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(data=some.data())
def test_a_file_that_is_cut_anywhere_goes_on(tmp_path_factory, content, data):
    file = tmp_path_factory.mktemp("cut") / "sweep.jsonl"
    cut = data.draw(some.integers(0, len(content)))
    file.write_bytes(content[:cut])
    with Store(file) as store:
        # A point counts if its line is complete; the first line is the header.
        assert list(store.outcomes) == OUTCOMES[: max(0, content[:cut].count(b"\n") - 1)]
        for outcome in OUTCOMES:
            if outcome.point not in store:
                store.add(outcome)
    assert file.read_bytes() == content


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda lines: [b"Dear reader,", *lines], "is no file of a sweep"),
        (lambda lines: [b"no line"], "is no file of a sweep"),
        (lambda lines: [b"[1]", *lines], "is no file of a sweep"),
        (lambda lines: lines[1:], "is no file of a sweep"),
        (lambda lines: [lines[0].replace(b'"version": 1', b'"version": 2')], "that this version"),
        (lambda lines: [header(lines, "00000000"), *lines[1:]], "with another calibration"),
        (lambda lines: [*lines[:2], lines[2][:40], *lines[3:]], "no finished point in line 3"),
        (lambda lines: [*lines[:2], b'{"point": {}}', *lines[3:]], "no finished point in line 3"),
    ],
)
def test_other_files_are_refused_and_left(tmp_path, content, spoil, message):
    file = tmp_path / "sweep.jsonl"
    spoiled = b"\n".join(spoil(content.splitlines())) + b"\n"
    file.write_bytes(spoiled)
    with pytest.raises(UserError, match=message):
        Store(file)
    assert file.read_bytes() == spoiled
    file.write_bytes(b"not a line")
    with pytest.raises(UserError, match="is no file of a sweep"):
        Store(file)
    assert file.read_bytes() == b"not a line"


def header(lines, calibration):
    return json.dumps(json.loads(lines[0]) | {"calibration": calibration}).encode()


def test_two_sweeps_do_not_share_a_file_at_the_same_time(tmp_path):
    file = tmp_path / "sweep.jsonl"
    with Store(file), pytest.raises(UserError, match="another sweep is writing"):
        Store(file)
    with Store(file) as store:
        assert len(store) == 0


def test_a_pipe_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/proc/self/fd/1")
    for path in (tmp_path / "pipe", tmp_path / "link"):
        with pytest.raises(UserError, match="is no file of a sweep"):
            Store(path)


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(UserError, match="cannot be written"):
        Store(tmp_path)
