"""The wrapper ./loom, with stand-ins for Python, pip and the compilers: nothing is installed."""

import shlex

import pytest
from checkout import LOOM, REAL_PYTHON, TOO_OLD, script


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
