"""The environment that ./loom makes: its owner, when it is remade, and sources of confusion."""

import os
import shlex
import shutil
import signal
import time

import pytest
from checkout import script


def test_changed_pyproject_installs_again(checkout):
    checkout.run()
    (checkout.venv / "kept").touch()
    checkout.pyproject.write_text("[project]\nname = 'other'\n")
    code, _, err = checkout.run()
    assert code == 0
    assert err == "loom: bringing .venv up to date with pyproject.toml\n"
    assert len(checkout.installs()) == 2
    assert (checkout.venv / "kept").exists()
    assert checkout.run()[2] == ""


def test_moved_checkout_installs_again(checkout, tmp_path):
    checkout.run()
    moved = tmp_path / "moved"
    checkout.root.rename(moved)
    code, _, err = checkout.run(cwd=moved, loom=moved / "loom")
    assert code == 0
    assert "up to date" in err
    assert len(checkout.installs()) == 2


def test_failed_install_shows_the_log_and_starts_again(checkout):
    code, out, err = checkout.run("--version", PIP_FAILS="1")
    assert (code, out) == (1, "")
    assert "No matching distribution" in err
    assert "loom: error: making .venv failed" in err
    (checkout.venv / "half a package").touch()
    code, out, err = checkout.run("--version")
    assert code == 0
    assert "making the environment" in err
    assert not (checkout.venv / "half a package").exists()


def test_killed_install_starts_again(checkout):
    process = checkout.start(PIP_SECONDS="60")
    process.stderr.readline()
    deadline = time.monotonic() + 30
    while not (checkout.venv / "bin" / "python").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    (checkout.venv / "half a package").touch()
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    code, _, err = checkout.run()
    assert code == 0
    assert "making the environment" in err
    assert not (checkout.venv / "half a package").exists()


def test_simultaneous_first_runs_install_once(checkout):
    processes = [checkout.start("--version", PIP_SECONDS="0.3") for _ in range(3)]
    errors = ""
    for process in processes:
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out.count("[--version]")) == (0, 1)
        errors += err
    assert len(checkout.installs()) == 1
    assert errors.count("making the environment") == 1
    assert errors.count("waiting for another loom") == 2


def test_environment_made_by_hand_is_kept(checkout):
    (checkout.venv / "bin").mkdir(parents=True)
    shutil.copy(checkout.bin / "python3", checkout.venv / "bin" / "python")
    (checkout.venv / "mine").touch()
    code, _, err = checkout.run()
    assert code == 0
    assert "up to date" in err
    assert (checkout.venv / "mine").exists()


def test_environment_whose_python_is_gone_is_made_again(checkout):
    checkout.run()
    (checkout.venv / "bin" / "python").unlink()
    (checkout.venv / "bin" / "python").symlink_to("/nonexistent")
    code, _, err = checkout.run()
    assert code == 0
    assert "making the environment" in err


def test_python_that_an_upgrade_has_replaced_is_made_again(checkout):
    checkout.run()
    (checkout.venv / "half a package").touch()
    script(checkout.venv / "bin" / "python", "#!/bin/sh\necho No module named $3 >&2\nexit 1\n")
    code, out, err = checkout.run("--version")
    assert (code, out.count("[--version]")) == (0, 1)
    assert "making the environment" in err
    assert not (checkout.venv / "half a package").exists()


@pytest.mark.parametrize("state", ["not executable", "out of date", "unfinished"])
def test_environment_of_another_user_is_left_alone(checkout, state):
    checkout.run()
    if state == "not executable":
        (checkout.venv / "bin" / "python").chmod(0o644)
    elif state == "out of date":
        checkout.pyproject.write_text("[project]\nname = 'other'\n")
    else:
        (checkout.venv / ".loom-stamp").unlink()
    before = checkout.content()
    checkout.become_another_user()
    code, out, err = checkout.run("--version")
    assert (code, out) == (2, "")
    assert f"{checkout.venv}/ belongs to {checkout.venv.owner()}, so .venv" in err
    assert "a clone of your own" in err
    assert len(err.splitlines()) == 1
    assert checkout.content() == before


def test_environment_of_another_user_that_works_is_used(checkout):
    checkout.run()
    checkout.become_another_user()
    assert checkout.run("--version")[::2] == (0, "")


def test_files_of_another_user_in_an_unfinished_environment_are_kept(checkout):
    checkout.run(PIP_FAILS="1")
    theirs = checkout.venv / "theirs"
    theirs.touch()
    # Only the folder itself is this user's.
    (checkout.bin / "find").unlink()
    finds = f'case "$*" in *-prune*) ;; *) echo {shlex.quote(str(theirs))} ;; esac'
    script(checkout.bin / "find", f"#!/bin/sh\n{finds}\n")
    code, _, err = checkout.run()
    assert code == 2
    assert f"{theirs} belongs to {theirs.owner()}" in err
    assert (checkout.venv / "bin" / "python").exists()
    assert theirs.exists()


@pytest.mark.parametrize("kind", ["file", "dangling link", "folder", "link to a folder", "no pip"])
def test_what_the_wrapper_has_not_made_is_not_removed(checkout, tmp_path, kind):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "kept").write_text("mine")
    if kind == "file":
        checkout.venv.write_text("mine")
    elif kind == "dangling link":
        checkout.venv.symlink_to("nowhere")
    elif kind == "link to a folder":
        checkout.venv.symlink_to(mine)
    else:
        mine.rename(checkout.venv)
        if kind == "no pip":
            (checkout.venv / "bin").mkdir()
            script(checkout.venv / "bin" / "python", "#!/bin/sh\nexit 1\n")
    before = checkout.venv.lstat().st_mtime_ns, checkout.content()
    code, _, err = checkout.run()
    assert code == 2
    assert err.startswith(f"loom: error: {checkout.venv} ")
    assert "move it away" in err
    assert len(err.splitlines()) == 1
    assert (checkout.venv.lstat().st_mtime_ns, checkout.content()) == before


def test_folder_that_cannot_be_written(checkout):
    (checkout.bin / "mkdir").unlink()
    script(checkout.bin / "mkdir", "#!/bin/sh\necho mkdir: Read-only file system >&2\nexit 1\n")
    code, _, err = checkout.run()
    assert code == 2
    assert "Read-only" in err
    assert "in a clone that you can write to" in err


def test_environment_that_cannot_be_written(checkout):
    checkout.run()
    (checkout.venv / ".loom-log").unlink()
    (checkout.venv / ".loom-log").mkdir()  # as root, nothing else is refused
    checkout.pyproject.write_text("[project]\nname = 'other'\n")
    code, _, err = checkout.run()
    assert code == 2
    assert ".venv can't be changed; run ./loom in a clone that you can write to" in err
    assert len(checkout.installs()) == 1


@pytest.mark.parametrize(
    "name",
    ["PREFIX", "TARGET", "USER", "ROOT", "PYTHON", "DRY_RUN", "NO_DEPS", "NO_BUILD_ISOLATION"],
)
def test_settings_of_pip_do_not_lead_elsewhere(checkout, tmp_path, name):
    code, out, _ = checkout.run("--version", **{f"PIP_{name}": str(tmp_path / "elsewhere")})
    assert code == 0
    assert "[--version]" in out
    assert not (tmp_path / "elsewhere").exists()


def test_mirror_named_to_pip_is_kept(checkout):
    checkout.run(PIP_INDEX_URL="https://mirror")
    assert checkout.installs()[0].endswith("https://mirror")


def test_install_that_does_not_start_is_not_called_finished(checkout):
    # A configuration file of pip can have options that no variable overrides.
    code, out, err = checkout.run("--version", PIP_LOSES="1")
    assert (code, out) == (2, "")
    assert "does not start from .venv: No module named gptloom." in err
    assert "pip config list" in err
    (checkout.venv / "half a package").touch()
    code, out, err = checkout.run("--version")
    assert (code, out.count("[--version]")) == (0, 1)
    assert "making the environment" in err
    assert not (checkout.venv / "half a package").exists()


@pytest.mark.parametrize("first", ["generate", "test", "docs"])
def test_packages_of_other_environments_are_not_seen(checkout, first):
    checkout.run()
    told = 'echo "${PYTHONPATH-none} ${PYTHONHOME-none} $PYTHONIOENCODING $CXX $GPTLOOM_DEBUG"'
    script(checkout.venv / "bin" / "python", f"#!/bin/sh\n{told}\n")
    kept = {"PYTHONIOENCODING": "latin-1", "CXX": "g++", "GPTLOOM_DEBUG": "1"}
    code, out, _ = checkout.run(first, PYTHONPATH="/elsewhere", PYTHONHOME="/elsewhere", **kept)
    assert (code, out) == (0, "none none latin-1 g++ 1\n")
