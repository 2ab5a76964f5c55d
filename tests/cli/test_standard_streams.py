"""The command with standard streams that are closed, full, or in another encoding."""

import errno
import json
import os
import subprocess
import sys
from contextlib import nullcontext

import pytest

from gptloom.cli import main as main_module

COMMAND = [sys.executable, "-P", "-m", "gptloom.cli"]


def run(*arguments, shell="", env=None, **options):
    """Run the command, in a shell that redirects it if `shell` is given."""
    command = [*COMMAND, *arguments]
    if shell:
        command = ["sh", "-c", f'exec "$@" {shell}', "sh", *command]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.run(command, env=os.environ | (env or {}), text=True, **options)


@pytest.mark.parametrize(
    ("arguments", "unbuffered"), [(["--version"], ""), (["build", "--board", "list"], "1")]
)
def test_full_standard_output_is_said(arguments, unbuffered):
    done = run(*arguments, shell=">/dev/full", env={"PYTHONUNBUFFERED": unbuffered})
    assert done.returncode == 2
    said = "gptloom: error: standard output cannot be used (No space left on device): "
    assert done.stderr == f"{said}make room on that disk, and run this again\n"


def test_closed_standard_output_is_said():
    done = run("--version", shell=">&-")
    assert done.returncode == 2
    assert done.stderr.startswith("gptloom: error: standard output is closed: ")
    assert done.stderr.count("\n") == 1


def test_closed_standard_error_takes_nothing_from_what_is_opened_later(tmp_path):
    image = tmp_path / "my.img"
    done = run("image", "--out", str(image), shell="<&- 2>&-")
    assert done.returncode == 0
    assert "a chip that holds it says" in done.stdout
    image.write_bytes(b"no image")
    refused = run("image", "--check", str(image), shell="2>&-")
    # Errors go to standard error or nowhere.
    assert (refused.returncode, refused.stdout) == (2, "")


PRINT = (
    r"from gptloom.cli.standard_streams import *; prepare(); print('A\u2592\udcff\u00df'); finish()"
)


@pytest.mark.parametrize(
    ("encoding", "printed"),
    {
        "ascii": b"A???",
        "latin-1": b"A??\xdf",
        "utf-8": "A\u2592?ß".encode(),
        "ascii:backslashreplace": rb"A\u2592\udcff\xdf",
    }.items(),
)
def test_letters_that_an_encoding_lacks_are_replaced(encoding, printed):
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-P", "-c", PRINT], env=environment, capture_output=True)
    assert (done.stdout, done.stderr, done.returncode) == (printed + b"\n", b"", 0)


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["-", "link"])
def test_people_read_standard_error_where_a_file_goes_to_standard_output(name, tmp_path):
    # A link, not /dev/stdout itself, which a mistake would replace for the whole machine.
    (tmp_path / "link").symlink_to("/proc/self/fd/1")
    done = run("estimate", "--board", "ulx3s-85f", "--json", name, cwd=tmp_path)
    assert json.loads(done.stdout)["board"] == "ulx3s-85f"
    assert "cycles/token" in done.stderr
    assert done.returncode == 0
    assert (tmp_path / "link").is_symlink()


@pytest.mark.nightly
def test_a_table_with_bars_is_printed_without_them():
    done = run("estimate", "--board", "ulx3s-85f", env={"PYTHONIOENCODING": "latin-1"})
    assert done.stderr == ""
    assert "cycles/token" in done.stdout
    assert done.returncode == 0


FAULTS = {
    OSError(errno.ENOSPC, "No space left on device"): "this machine cannot go on (No space",
    OSError(errno.EROFS, "Read-only file system", "a/b"): "a/b cannot be used (Read-only",
    PermissionError(errno.EACCES, "Permission denied", "c"): "c cannot be used (Permission",
    NotADirectoryError(errno.ENOTDIR, "Not a directory", "d"): "d cannot be used (Not a dir",
}


@pytest.mark.parametrize("fault", FAULTS, ids=str)
@pytest.mark.parametrize("debug", ["0", "1"])
def test_what_the_machine_refuses_is_no_bug(fault, debug, monkeypatch, capsys):
    def app(*_, **__):
        raise fault

    monkeypatch.setattr(main_module, "app", app)
    monkeypatch.setenv("GPTLOOM_DEBUG", debug)
    assert main_module.main([]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"gptloom: error: {FAULTS[fault]}")
    assert "bug" not in said
    assert ("Traceback" in said) == (debug == "1")


def test_a_folder_that_is_none_is_named(tmp_path, monkeypatch):
    from gptloom.boards.build import Build
    from gptloom.boards.table import find_board
    from gptloom.boards.tools import Tools

    (tmp_path / "file").write_text("mine")
    build = Build(find_board("ulx3s-25f"), tmp_path / "file" / "b", Tools(), nullcontext)
    monkeypatch.setattr(main_module, "app", lambda *_, **__: build.begin())
    assert main_module.main([]) == 2
    assert (tmp_path / "file").read_text() == "mine"
