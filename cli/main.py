"""The command `gptloom`: its subcommands, its general options, and how errors reach people."""

import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pkgutil import resolve_name
from typing import Annotated, NoReturn

import typer

from gptloom.cli import standard_streams
from gptloom.cli.output import say
from gptloom.model.errors import UserError, UserNotice, explain
from gptloom.sim.tool_caches import usable_caches

#: One line per subcommand, as ``module:function``; the function's name is the subcommand's, but for
#: the underscore behind a word that Python has reserved.
#: All of these modules are imported for ``--help``, so each imports what is slow to import
#: (amaranth, torch, matplotlib) inside its function.
SUBCOMMANDS = (
    "gptloom.cli.attend:attend",
    "gptloom.cli.bench:bench",
    "gptloom.cli.budget:budget",
    "gptloom.cli.build:build",
    "gptloom.cli.doctor:doctor",
    "gptloom.cli.estimate:estimate",
    "gptloom.cli.explore:explore",
    "gptloom.cli.flash:flash",
    "gptloom.cli.sim:sim",
    "gptloom.cli.swap:swap",
    "gptloom.cli.generate:generate",
    "gptloom.cli.image:image",
    "gptloom.cli.importing:import_",
    "gptloom.cli.load:load",
    "gptloom.cli.quantise:quantize",
    "gptloom.cli.refine:refine",
    "gptloom.cli.talk:talk",
    "gptloom.cli.train:train",
    "gptloom.cli.verilog:verilog",
    "gptloom.cli.web:web",
)

app = typer.Typer(
    name="gptloom",
    no_args_is_help=True,
    add_completion=False,
    # Errors are shown by `main`, all in the same way.
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"gptloom {version('gptloom')}")
        raise typer.Exit


@app.callback()
def general(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
    debug: Annotated[
        bool,
        typer.Option("--debug", help="Show the traceback of an internal error (GPTLOOM_DEBUG=1)."),
    ] = False,
) -> None:
    """Language models running as hardware on open FPGAs, generated from Python."""
    if debug:
        # In the environment, so that processes started by a subcommand see it as well.
        os.environ["GPTLOOM_DEBUG"] = "1"


for _subcommand in SUBCOMMANDS:
    app.command(_subcommand.partition(":")[2].rstrip("_"))(resolve_name(_subcommand))


def main(arguments: Sequence[str]) -> int | str | None:
    """Run the command and turn any outcome into an exit code.

    Parameters
    ----------
    arguments
        The command line without the program's name.

    Returns
    -------
    int or str or None
        Argument for `sys.exit`: 0 if all went well, 1 for an internal error, 2 for bad input and
        for anything that the machine refuses, 130 if interrupted.
    """
    try:
        with _said_notices():
            app(arguments, prog_name="gptloom")
    except SystemExit as end:
        # Typer always ends this way: bad usage is 2, Control-C is 130 and prints nothing.
        if end.code == 130:
            print("gptloom: interrupted", file=sys.stderr)
        return end.code
    except UserError as error:
        say("error", str(error))
        return 2
    except OSError as error:
        say("error", _refused(error))
        if _debugging():
            traceback.print_exc()
        return 2
    except Exception as error:
        say("internal error", f"{type(error).__name__}: {error}")
        if _debugging():
            traceback.print_exc()
        else:
            print(
                "This is a bug in GPTLoom. Please report it with the traceback, "
                "which GPTLOOM_DEBUG=1 in the environment (or gptloom --debug ...) shows.",
                file=sys.stderr,
            )
        return 1
    return 0


@contextmanager
def _said_notices() -> Iterator[None]:
    """Print every :class:`.UserNotice` once, in the same way as errors."""
    with warnings.catch_warnings():
        others = warnings.showwarning

        def show(message, category, *place) -> None:
            if issubclass(category, UserNotice):
                say("warning", str(message))
            else:
                others(message, category, *place)

        warnings.showwarning = show
        warnings.simplefilter("default", UserNotice)
        yield


def _debugging() -> bool:
    return os.environ.get("GPTLOOM_DEBUG", "0") not in ("", "0")


def _refused(error: OSError) -> str:
    """Return a sentence about something that the machine did not let GPTLoom do."""
    what = f"{error.filename} cannot be used" if error.filename else "this machine cannot go on"
    return f"{what} {explain(error)}, and run this again"


def run() -> NoReturn:
    """Run the command with the arguments of this process, and end the process."""
    try:
        standard_streams.prepare()
    except UserError as error:
        say("error", str(error))
        sys.exit(2)
    with usable_caches():
        code = main(sys.argv[1:])
    fault = standard_streams.finish()
    if fault and not code:
        # A reader that has left ("gptloom ... | head") needs no message.
        code = 1 if isinstance(fault, BrokenPipeError) else 2
        if code == 2:
            say("error", _refused(fault))
    sys.exit(code)
