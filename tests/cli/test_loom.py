"""The wrapper ./loom, with stand-ins for Python, pip and the compilers: nothing is installed."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

LOOM = Path(__file__).parents[2] / "loom"
REAL_PYTHON = shlex.quote(sys.executable)
TOOLS = (
    *("cat", "chmod", "cksum", "cp", "dirname", "find", "head", "id", "ls", "mkdir", "readlink"),
    *("rm", "sleep", "tail"),
)

# Answers as a Python would, and notes in $CALLS what was asked of it. Plain code (-c) goes to the
# real one, because the lock and the questions about the version are real. The package is there
# when pip has put the folder "gptloom" into the environment that this Python belongs to.
PYTHON = f"""#!/bin/sh
home=${{0%/bin/python}}
case $1 in -P) shift ;; esac
case "$1 ${{2-}}" in
"-c import gptloom.cli")
    [ -d "$home/gptloom" ] ;;
"-c "*)
    exec {REAL_PYTHON} "$@" ;;
"-m venv")
    mkdir -p "$3/bin"
    cp "$0" "$3/bin/python" ;;
"-m pip")
    [ "$3" = install ] || exit 0
    sleep "${{PIP_SECONDS:-0}}"
    printf 'pip in %s:' "$PWD" >>"$CALLS"
    printf ' [%s]' "$@" >>"$CALLS"
    echo "${{PIP_INDEX_URL-}}" >>"$CALLS"
    if [ -n "${{PIP_FAILS:-}}" ]; then
        echo "No matching distribution"
        exit 1
    fi
    if [ "${{PIP_USER:-0}}" != 0 ]; then
        echo "Can not perform a '--user' install"
        exit 1
    fi
    # Each of them makes pip install elsewhere, less, or nothing.
    lost=${{PIP_TARGET-}}${{PIP_ROOT-}}${{PIP_PYTHON-}}${{PIP_DRY_RUN-}}${{PIP_NO_DEPS-}}
    lost=$lost${{PIP_NO_BUILD_ISOLATION-}}${{PIP_LOSES-}}
    [ -n "$lost" ] || mkdir -p "${{PIP_PREFIX:-$home}}/gptloom" ;;
*)
    if [ "${{2-}}" = gptloom.cli ] && [ ! -d "$home/gptloom" ]; then
        echo "No module named gptloom" >&2
        exit 1
    fi
    printf 'in %s:' "$PWD"
    printf ' [%s]' "$@"
    echo ;;
esac
"""

TOO_OLD = f"""#!/bin/sh
exec {REAL_PYTHON} -c 'import sys; sys.version_info = (3, 9); exec(sys.argv[1])' "$2"
"""


def script(path, text):
    path.write_text(text)
    path.chmod(0o755)


class Checkout:
    """A folder with the wrapper in it, and what the wrapper finds on the PATH."""

    def __init__(self, folder):
        self.root = folder / "my check[out]"
        self.bin = folder / "bin"
        self.calls = folder / "calls"
        self.root.mkdir()
        self.bin.mkdir()
        self.loom = self.root / "loom"
        shutil.copy(LOOM, self.loom)
        self.pyproject = self.root / "pyproject.toml"
        self.pyproject.write_text("[project]\n")
        self.venv = self.root / ".venv"
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool))
        script(self.bin / "python3", PYTHON)
        script(self.bin / "g++", "#!/bin/sh\n")
        self.environment = {"PATH": str(self.bin), "CALLS": str(self.calls)}

    def start(self, *arguments, cwd=None, loom=None, **environment):
        return subprocess.Popen(
            [loom or self.loom, *arguments],
            cwd=cwd or self.root,
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments, **options):
        process = self.start(*arguments, **options)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def installs(self):
        return self.calls.read_text().splitlines() if self.calls.exists() else []

    def become_another_user(self):
        (self.bin / "id").unlink()
        script(self.bin / "id", "#!/bin/sh\necho 123456\n")

    def content(self):
        """What lies in .venv, to see that nothing was touched."""
        files = sorted(self.venv.rglob("*"))
        return [
            (file, file.lstat().st_mtime_ns, file.is_dir() or file.read_text()) for file in files
        ]


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path)


def test_first_run_makes_the_environment(checkout):
    code, out, err = checkout.run("--version")
    assert code == 0
    assert err == "loom: making the environment in .venv (once, about a minute)\n"
    assert out == f"in {checkout.root}: [-m] [gptloom.cli] [--version]\n"
    (install,) = checkout.installs()
    assert install.startswith(f"pip in {checkout.root}: [-m] [pip] [install]")
    assert install.endswith("[-e] [.[test]]")


def test_second_run_installs_nothing(checkout):
    checkout.run()
    code, out, err = checkout.run("generate")
    assert (code, err) == (0, "")
    assert out == f"in {checkout.root}: [-m] [gptloom.cli] [generate]\n"
    assert len(checkout.installs()) == 1


def test_arguments_keep_spaces_and_folder(checkout, tmp_path):
    folder = tmp_path / "else where"
    folder.mkdir()
    code, out, _ = checkout.run("generate", "--prompt", "a  b", "", "*", cwd=folder)
    assert code == 0
    assert out == f"in {folder}: [-m] [gptloom.cli] [generate] [--prompt] [a  b] [] [*]\n"


def test_through_symbolic_links(checkout, tmp_path):
    (checkout.root / "link").symlink_to("loom")
    (tmp_path / "loom").symlink_to(checkout.root / "link")
    code, out, _ = checkout.run("--version", cwd=tmp_path, loom="./loom")
    assert code == 0
    assert out == f"in {tmp_path}: [-m] [gptloom.cli] [--version]\n"
    assert (checkout.venv / "bin" / "python").exists()


def test_tests_run_in_the_checkout_on_all_cores(checkout, tmp_path):
    code, out, _ = checkout.run("test", "-k", "a or b", cwd=tmp_path)
    assert code == 0
    arguments = "[-m] [pytest] [-n] [auto] [--dist] [loadgroup] [-k] [a or b]"
    assert out == f"in {checkout.root}: {arguments}\n"


def test_documents_are_built_in_the_checkout(checkout, tmp_path):
    code, out, _ = checkout.run("docs", "--site-dir", "a b", cwd=tmp_path)
    assert code == 0
    assert out == f"in {checkout.root}: [-m] [mkdocs] [build] [--strict] [--site-dir] [a b]\n"


def test_exit_code_is_the_commands(checkout):
    checkout.run()
    script(checkout.venv / "bin" / "python", "#!/bin/sh\n[ $2 = -c ] || exit 7\n")
    assert checkout.run("generate")[0] == 7


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
    # A file of pip's own can hold what no variable takes away.
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


def test_line_ends_of_checkouts_are_unix():
    # With core.autocrlf, git would write CRLF, which neither sh nor bash takes.
    attributes = (LOOM.parent / ".gitattributes").read_text().splitlines()
    assert "* text=auto eol=lf" in attributes
    assert not any("eol=crlf" in line for line in attributes)


def test_no_python(checkout):
    (checkout.bin / "python3").unlink()
    code, out, err = checkout.run("--version")
    assert (code, out) == (2, "")
    assert err.startswith("loom: error: no Python 3.11 or newer was found")
    assert len(err.splitlines()) == 1
    assert not checkout.venv.exists()


def test_old_python_is_passed_over(checkout):
    (checkout.bin / "python3").rename(checkout.bin / "python3.12")
    script(checkout.bin / "python3", TOO_OLD)
    code, out, _ = checkout.run("--version")
    assert code == 0
    assert "[--version]" in out


def test_only_an_old_python(checkout):
    script(checkout.bin / "python3", TOO_OLD)
    code, _, err = checkout.run()
    assert code == 2
    assert "no Python 3.11 or newer was found" in err


def test_named_python_comes_first(checkout, tmp_path):
    named = tmp_path / "my python"
    (checkout.bin / "python3").rename(named)
    code, out, _ = checkout.run("--version", PYTHON=str(named))
    assert code == 0
    assert "[--version]" in out


def test_named_python_that_is_too_old_is_named(checkout, tmp_path):
    named = tmp_path / "old"
    script(named, TOO_OLD)
    code, _, err = checkout.run(PYTHON=str(named))
    assert code == 0
    assert f"PYTHON={named} is not a Python 3.11 or newer" in err


@pytest.mark.parametrize("missing", ["venv", "ensurepip"])
def test_python_without_venv_or_pip(checkout, tmp_path, missing):
    (tmp_path / f"{missing}.py").write_text("raise ImportError\n")
    shadowed = f'PYTHONPATH={shlex.quote(str(tmp_path))} exec {REAL_PYTHON} "$@"'
    script(checkout.bin / "python3", f"#!/bin/sh\n{shadowed}\n")
    code, out, err = checkout.run()
    assert (code, out) == (2, "")
    assert err.startswith("loom: error: python3 comes without venv or pip")
    assert "python3-venv" in err
    assert not checkout.venv.exists()


def test_without_compiler_zig_is_added(checkout):
    (checkout.bin / "g++").unlink()
    code, _, err = checkout.run()
    assert code == 0
    assert "no C++ compiler found" in err
    assert "ziglang" in err
    assert checkout.installs()[0].endswith("[-e] [.[test,zig]]")


def test_compiler_that_does_not_run_is_none(checkout):
    script(checkout.bin / "g++", "#!/bin/sh\nexit 1\n")
    checkout.run()
    assert checkout.installs()[0].endswith("[-e] [.[test,zig]]")


def test_compiler_named_in_the_environment(checkout):
    (checkout.bin / "g++").rename(checkout.bin / "my-c++")
    checkout.run(CXX="my-c++ -O1")
    assert checkout.installs()[0].endswith("[-e] [.[test]]")
