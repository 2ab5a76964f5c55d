"""Output files: complete or absent, and never in place of a link, a pipe or a device.

Tests write only to folders of their own, or where no file can be made: a mistake, made by root,
would replace /dev/null for the whole machine.
"""

import errno
import io
import os
import stat
import subprocess
import sys
import threading

import pytest

from gptloom.model import files
from gptloom.model.errors import UserError
from gptloom.model.files import (
    check_writable,
    is_ours,
    is_plain,
    is_stdout,
    stamped,
    write_file,
    write_json,
    writing,
)


@pytest.fixture
def umask():
    """Make new files accessible to owner and group only."""
    before = os.umask(0o027)
    yield
    os.umask(before)


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


def run(code, **options):
    """Run code in a separate Python, whose descriptors it writes to."""
    code = f"from gptloom.model.files import *\n{code}"
    command = [sys.executable, "-P", "-c", code]
    return subprocess.run(command, stderr=subprocess.PIPE, text=True, **options)


def test_a_new_file_has_the_mode_of_the_umask(tmp_path, umask):
    write_file(tmp_path / "new", b"content")
    assert mode_of(tmp_path / "new") == 0o640


def test_a_file_keeps_its_mode(tmp_path, umask):
    path = tmp_path / "kept"
    path.write_bytes(b"old")
    path.chmod(0o604)
    write_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert mode_of(path) == 0o604


def test_a_link_stays_and_its_file_is_replaced(tmp_path):
    (tmp_path / "there").mkdir()
    target, link, other = tmp_path / "there" / "file", tmp_path / "link", tmp_path / "other"
    target.write_bytes(b"old")
    link.symlink_to("there/file")
    other.symlink_to("link")
    before = target.stat().st_ino
    write_file(other, b"new")
    assert (os.readlink(other), os.readlink(link)) == ("link", "there/file")
    assert target.read_bytes() == b"new"
    # Replaced, not overwritten: a reader that has it open still sees the old file intact.
    assert target.stat().st_ino != before
    assert os.listdir(tmp_path / "there") == ["file"]


def test_a_link_to_nothing_gets_its_file(tmp_path):
    (tmp_path / "link").symlink_to("file")
    write_file(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"new"


def test_a_loop_of_links_is_said(tmp_path):
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    for attempt in (lambda path: write_file(path, b""), check_writable):
        with pytest.raises(UserError, match="one cannot be written"):
            attempt(tmp_path / "one")


@pytest.mark.parametrize("by_link", [False, True])
def test_a_pipe_is_written_to(tmp_path, by_link):
    pipe = path = tmp_path / "pipe"
    os.mkfifo(pipe)
    if by_link:
        path = tmp_path / "link"
        path.symlink_to(pipe)
    received = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()), daemon=True)
    reader.start()
    check_writable(path)
    write_json(path, {"a": 1})
    reader.join(10)
    assert received == [b'{\n  "a": 1\n}\n']
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert path.is_symlink() == by_link


@pytest.mark.parametrize("by_link", [False, True])
def test_a_device_is_written_to(tmp_path, by_link):
    reading, writing_end = os.openpty()
    device = path = os.ttyname(writing_end)
    if by_link:
        path = tmp_path / "link"
        path.symlink_to(device)
    check_writable(path)
    write_file(path, b"content")
    assert os.read(reading, 100) == b"content"
    assert stat.S_ISCHR(os.stat(device).st_mode)
    assert os.path.islink(path) == by_link
    os.close(reading)
    os.close(writing_end)


@pytest.mark.parametrize("name", ["-", "/dev/fd/1", "link", "other"])
def test_standard_output_gets_what_is_written_in_order(tmp_path, name):
    (tmp_path / "link").symlink_to("/proc/self/fd/1")
    (tmp_path / "other").symlink_to("link")
    log = tmp_path / "log"
    code = f"print('before'); write_file({name!r}, b'between\\n'); print('after')"
    for mode in ("wb", "ab"):  # as > and >> of a shell do it
        with log.open(mode) as out:
            done = run(code, stdout=out, cwd=tmp_path)
        assert done.stderr == ""
    assert log.read_text() == "before\nbetween\nafter\n" * 2
    done = run(code, stdout=subprocess.PIPE, cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("before\nbetween\nafter\n", "")
    assert sorted(os.listdir(tmp_path)) == ["link", "log", "other"]


def test_an_open_descriptor_is_written_to(tmp_path):
    with (tmp_path / "file").open("wb") as file:
        file.write(b"before ")
        file.flush()
        write_file(f"/dev/fd/{file.fileno()}", b"between ")
        file.write(b"after")
    assert (tmp_path / "file").read_bytes() == b"before between after"
    with pytest.raises(UserError, match="/dev/fd/999 cannot be written"):
        write_file("/dev/fd/999", b"")


def test_full_standard_output_is_said():
    code = "from gptloom.model.errors import UserError\ntry: write_file('-', b'x')\n"
    code += "except UserError as error: print(error, file=__import__('sys').stderr)"
    with open("/dev/full", "wb") as full:
        done = run(code, stdout=full)
    assert done.stderr.startswith("standard output cannot be written (No space left on device)")


def test_which_paths_are_what(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/stdout")
    assert [is_stdout(p) for p in ("-", "/dev/stdout", tmp_path / "link")] == [True] * 3
    assert [is_stdout(p) for p in (tmp_path, "x", "/dev/stderr", "/dev/null")] == [False] * 4
    assert [is_plain(p) for p in ("-", "/dev/stdout", "/dev/null", tmp_path / "pipe")] == [
        False
    ] * 4
    assert is_plain(tmp_path / "new")
    assert is_plain(__file__)


@pytest.mark.parametrize("existing", [None, b"old"])
@pytest.mark.parametrize("fails", ["write", "replace", "interrupt"])
def test_a_failed_write_leaves_all_as_it_was(tmp_path, monkeypatch, existing, fails):
    path = tmp_path / "file"
    if existing:
        path.write_bytes(existing)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def write():
        with writing(path) as file:
            file.write(b"half")
            if fails == "interrupt":
                raise KeyboardInterrupt
            if fails == "write":
                full()

    if fails == "replace":
        monkeypatch.setattr(files.os, "replace", full)
    kind, said = (KeyboardInterrupt, None) if fails == "interrupt" else (UserError, "No space left")
    with pytest.raises(kind, match=said):
        write()
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == (
        {"file": existing} if existing else {}
    )


def test_what_cannot_be_written_is_known_before(tmp_path, monkeypatch):
    (tmp_path / "taken").mkdir()
    (tmp_path / "file").write_bytes(b"old")
    for path, said in {
        tmp_path / "absent" / "file": "absent",
        tmp_path / "file" / "file": "file",
    }.items():
        for attempt in (lambda path: write_file(path, b""), check_writable):
            with pytest.raises(UserError, match=said):
                attempt(path)
    with pytest.raises(UserError, match=r"taken cannot be written \(Is a directory"):
        write_file(tmp_path / "taken", b"content")
    with pytest.raises(UserError, match=r"taken cannot be written \(Is a directory"):
        check_writable(tmp_path / "taken")
    # Another user's file, or a protected one, in a folder in which files may be renamed.
    monkeypatch.setattr(files.os, "access", lambda path, mode: mode != os.W_OK)
    for attempt in (lambda path: write_file(path, b""), check_writable):
        with pytest.raises(UserError, match=r"file cannot be written \(it is read-only"):
            attempt(tmp_path / "file")
    assert sorted(os.listdir(tmp_path)) == ["file", "taken"]
    assert (tmp_path / "file").read_bytes() == b"old"


def test_a_folder_that_takes_no_files_is_known_before(tmp_path, monkeypatch):
    def refuse(dir):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), dir)

    monkeypatch.setattr(files.tempfile, "TemporaryFile", refuse)
    with pytest.raises(UserError, match=r"new cannot be written \(Read-only file system"):
        check_writable(tmp_path / "new")


@pytest.mark.parametrize("content", [b"", b"line\n", b"no end", b"\x89PNG\n\xae\x42\x60\x82"])
def test_own_files_are_known_again(tmp_path, content):
    path = tmp_path / "file"
    assert is_ours(path)
    made = stamped(content, b"# ", b" #")
    assert made.startswith(content)
    path.write_bytes(made)
    assert is_ours(path)
    for changed in (b"x" + made, made + b"x", made.replace(b"made", b"Made"), content):
        path.write_bytes(changed)
        assert not is_ours(path)


def test_what_is_no_file_is_not_ours(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("absent")
    assert not any(map(is_ours, (tmp_path / "pipe", tmp_path / "link", tmp_path)))
    link = tmp_path / "linked"
    (tmp_path / "made").write_bytes(stamped(b"x"))
    link.symlink_to("made")
    assert is_ours(link)


def test_text_can_be_streamed(tmp_path):
    with writing(tmp_path / "file") as file, io.TextIOWrapper(file, "utf-8", newline="") as text:
        text.write("ß\n")
    assert (tmp_path / "file").read_bytes() == "ß\n".encode()
