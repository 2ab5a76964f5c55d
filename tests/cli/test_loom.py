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
TOOLS = ("cat", "chmod", "cksum", "cp", "dirname", "mkdir", "readlink", "rm", "sleep")

# Answers as a Python would, and notes in $CALLS what was asked of it. Plain code (-c) goes to the
# real one, because the lock and the questions about the version are real.
PYTHON = f"""#!/bin/sh
case $1 in -P) shift ;; esac
case "$1 ${{2-}}" in
"-c "*)
    exec {REAL_PYTHON} "$@" ;;
"-m venv")
    mkdir -p "$3/bin"
    cp "$0" "$3/bin/python" ;;
"-m pip")
    sleep "${{PIP_SECONDS:-0}}"
    printf 'pip in %s:' "$PWD" >>"$CALLS"
    printf ' [%s]' "$@" >>"$CALLS"
    echo >>"$CALLS"
    if [ -n "${{PIP_FAILS:-}}" ]; then
        echo "No matching distribution"
        exit 1
    fi ;;
*)
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
    script(checkout.venv / "bin" / "python", "#!/bin/sh\nexit 7\n")
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
    shadow = tmp_path / "shadow"
    shadow.mkdir()
    (shadow / f"{missing}.py").write_text("raise ImportError\n")
    code, out, err = checkout.run(PYTHONPATH=str(shadow))
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
