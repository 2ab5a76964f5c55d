"""The wheel, installed in an empty environment: it has all that the command needs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.xdist_group("wheel")


@pytest.fixture(scope="module")
def gptloom(tmp_path_factory):
    """Run the command of a wheel built from this checkout, in an empty folder."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", folder, ROOT]
    subprocess.run(build, check=True, cwd=folder, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    python = folder / "venv" / "bin" / "python"
    # With its declared dependencies only.
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-compile", wheel], check=True)
    empty = folder / "empty"
    empty.mkdir()
    command = folder / "venv" / "bin" / "gptloom"

    # Nothing of this checkout's but the compiled tools: that takes most of a minute.
    tools = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wasmtime"
    tools.mkdir(parents=True, exist_ok=True)
    (folder / ".cache").mkdir()
    (folder / ".cache" / "wasmtime").symlink_to(tools)

    def run(*arguments):
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder)}
        return subprocess.run(
            [command, *arguments], cwd=empty, env=environment, capture_output=True, text=True
        )

    return run


@pytest.mark.long
def test_the_installed_command_generates_names(gptloom):
    done = gptloom("generate", "--count", "3", "--lanes", "8")
    assert done.returncode == 0, done.stderr
    # The golden model's names at the default seed; each has been compared token by token.
    assert done.stdout.splitlines()[1:4] == ["tenisha", "braniel", "mylantha"]
    assert "equal to the golden model  yes" in done.stdout


@pytest.mark.parametrize(
    "checkpoint",
    [
        pytest.param("names-2l", marks=pytest.mark.long),
        pytest.param("shakespeare", marks=pytest.mark.nightly),
        pytest.param("names-alibi", marks=pytest.mark.nightly),
    ],
)
def test_shipped_checkpoints_are_in_it(gptloom, checkpoint):
    done = gptloom("image", "--checkpoint", checkpoint, "--out", f"{checkpoint}.img")
    assert done.returncode == 0, done.stderr


@pytest.mark.long
def test_a_missing_extra_is_named(gptloom):
    done = gptloom("estimate", "--board", "ulx3s-25f")
    assert done.returncode == 2
    assert "pip install 'gptloom[boards]'" in done.stderr
    assert "Traceback" not in done.stderr
