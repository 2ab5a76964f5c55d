import ast
import os
import subprocess
import sys
import tomllib
import warnings
from importlib.util import resolve_name
from itertools import accumulate
from pathlib import Path

import pytest
import typer

from gptloom.cli import main as main_module
from gptloom.model.errors import UserError, UserNotice

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(monkeypatch):
    """Run `main` on a command with the real general options, and subcommands that fail."""
    monkeypatch.setenv("GPTLOOM_DEBUG", "0")
    app = typer.Typer(pretty_exceptions_enable=False)
    app.callback()(main_module.general)

    @app.command()
    def fine() -> None:
        print("done")

    @app.command()
    def refuse() -> None:
        raise UserError("the prompt has a 'ß', which is not in the vocabulary [a-z]; " + "x" * 90)

    @app.command()
    def interrupt() -> None:
        raise KeyboardInterrupt

    @app.command()
    def bug() -> None:
        raise ZeroDivisionError("division by zero")

    @app.command()
    def doubt() -> None:
        for _ in range(2):
            warnings.warn("the loss is " + "x" * 90, UserNotice, stacklevel=1)
        print("done")

    monkeypatch.setattr(main_module, "app", app)
    return lambda *arguments: main_module.main(arguments)


def test_success(run, capsys):
    assert run("fine") == 0
    assert capsys.readouterr() == ("done\n", "")


def test_user_error_is_one_line(run, capsys):
    assert run("refuse") == 2
    out, err = capsys.readouterr()
    assert out == ""
    sentence = "the prompt has a 'ß', which is not in the vocabulary [a-z]; " + "x" * 90
    assert err == f"gptloom: error: {sentence}\n"


def test_a_notice_is_one_line_and_said_once(run, capsys):
    for _ in range(2):
        assert run("doubt") == 0
        assert capsys.readouterr() == ("done\n", f"gptloom: warning: the loss is {'x' * 90}\n")


def test_interrupt_is_one_line(run, capsys):
    assert run("interrupt") == 130
    assert capsys.readouterr().err == "gptloom: interrupted\n"


def test_internal_error_asks_for_a_report(run, capsys):
    assert run("bug") == 1
    err = capsys.readouterr().err
    assert err.startswith("gptloom: internal error: ZeroDivisionError: division by zero\n")
    assert "report it" in err
    assert "Traceback" not in err


def test_debug_option_shows_the_traceback(run, capsys):
    assert run("--debug", "bug") == 1
    err = capsys.readouterr().err
    assert "Traceback (most recent call last)" in err
    assert 'raise ZeroDivisionError("division by zero")' in err


def test_debug_variable_shows_the_traceback(run, capsys, monkeypatch):
    monkeypatch.setenv("GPTLOOM_DEBUG", "1")
    assert run("bug") == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--nonsense"], ["nonsense"], ["fine", "--nonsense"]])
def test_usage_errors(run, capsys, arguments):
    assert run(*arguments) == 2
    assert "nonsense" in capsys.readouterr().err


def test_version():
    command = [sys.executable, "-P", "-m", "gptloom.cli", "--version"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    name, number = done.stdout.split()
    assert name == "gptloom"
    assert number[0].isdigit()


def test_help_lists_every_subcommand(capsys):
    assert main_module.main(["--help"]) == 0
    out = capsys.readouterr().out
    for subcommand in main_module.SUBCOMMANDS:
        assert f" {subcommand.partition(':')[2].rstrip('_')} " in out


@pytest.mark.parametrize("subcommand", main_module.SUBCOMMANDS)
def test_help_of_every_subcommand(capsys, subcommand):
    name = subcommand.partition(":")[2].rstrip("_")
    assert main_module.main([name, "--help"]) == 0
    assert f"gptloom {name}" in capsys.readouterr().out


def test_help_imports_nothing_slow():
    code = (
        "import sys; from gptloom.cli.main import main; main(['--help']); "
        "print(*{'torch', 'amaranth', 'matplotlib', 'pyarrow'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    assert done.stderr.split() == []


def test_nothing_is_said_when_the_reader_leaves():
    # The reading end is closed before the command starts, so every write fails.
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-P", "-m", "gptloom.cli", "--help"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert done.stderr == ""
    assert done.returncode == 1


def imported(module, file):
    """Return the names of all modules imported anywhere in a module, and of their packages."""
    package = module if file.stem == "__init__" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            place = resolve_name("." * node.level + (node.module or ""), package)
            names = [f"{place}.{alias.name}" for alias in node.names]
        for name in names:
            yield from accumulate(name.split("."), "{}.{}".format)


def test_a_command_reaches_all_that_is_installed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["setuptools"]["packages"]
    installed = {}
    for package in packages:
        for file in (ROOT / package.removeprefix("gptloom.").replace(".", "/")).glob("*.py"):
            installed[f"{package}.{file.stem}".removesuffix(".__init__")] = file
    reached = new = {name for name in installed if name.startswith("gptloom.cli.")}
    while new:
        new = {name for module in new for name in imported(module, installed[module])}
        new = (new & installed.keys()) - reached
        reached = reached | new
    assert sorted(installed.keys() - reached) == []
