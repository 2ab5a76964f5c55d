"""`gptloom talk`: prompts to a chip, and their continuations."""

from __future__ import annotations

import sys
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gptloom.cli.cores import Slots
from gptloom.cli.line import Baud, PortName, open_conversation
from gptloom.cli.output import say, show_figures
from gptloom.model.errors import UserError

if TYPE_CHECKING:
    from gptloom.boards.conversation import Conversation

HELP = {
    "any text": "is continued; an empty line begins a name",
    ":temperature 0.7": "0.1 to 2.0",
    ":greedy": "always the likeliest character",
    ":seed 7": "state of the random numbers",
    ":counters": "clock cycles, tokens, stalls and rows of the KV cache since power-on",
    ":pause, :resume": "names on the line",
    ":reset": "as after power-on, with the present model",
    ":quit": "or end of input",
}


def talk(
    port: PortName,
    baud: Baud = 115_200,
    prompt: Annotated[
        list[str] | None, typer.Option(help="Continue this and end; may be given several times.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(help="0.1 to 2.0, or 0 for greedy; else as it is.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the random numbers.")] = None,
    checkpoint: Annotated[str, typer.Option(help="Checkpoint that the chip holds.")] = "names",
    image: Annotated[
        Path | None, typer.Option(help="Image that the chip holds (gptloom image).")
    ] = None,
    lanes: Annotated[int, typer.Option(help="Lanes of a simulated chip.")] = 16,
    slots: Slots = 0,
) -> None:
    """Type prompts; the chip continues them, live. `:help` lists the other commands."""
    with open_conversation(port, baud, image, checkpoint, lanes, slots) as conversation:
        if temperature is not None:
            conversation.set_temperature(temperature)
        if seed is not None:
            set_seed(conversation, seed)
        if prompt:
            for text in prompt:
                answer(conversation, text)
        else:
            converse(conversation)


def converse(conversation: Conversation) -> None:
    """Read lines and obey them until they end, reporting the error of each.

    Raises
    ------
    UserError
        If a line has bytes that are not characters.
    """
    interactive = sys.stdin.isatty()
    # So invalid bytes reach their own line only, and not everything read along with it.
    sys.stdin.reconfigure(errors="surrogateescape")
    for number in count(1):
        try:
            line = input("> " if interactive else "")
        except EOFError:
            return
        if line.strip() in (":quit", ":q"):
            return
        check_text(line, number)
        try:
            obey(conversation, line.rstrip("\r\n"))
        except UserError as error:
            say("error", str(error))


def check_text(line: str, number: int) -> None:
    """Refuse a line with bytes that are not characters.

    Raises
    ------
    UserError
        Naming the line.
    """
    if any("\udc80" <= character <= "\udcff" for character in line):
        raise UserError(
            f"line {number} is not text in {sys.stdin.encoding}, the encoding of standard input: "
            "convert it, or set PYTHONIOENCODING to its encoding"
        )


def obey(conversation: Conversation, line: str) -> None:
    """Execute a line.

    Raises
    ------
    UserError
        If it cannot be done.
    """
    from rich.console import Console

    if not line.startswith(":"):
        answer(conversation, line)
        return
    link = conversation.link
    word, _, value = line[1:].partition(" ")
    if word == "temperature":
        conversation.set_temperature(number(value, float))
    elif word == "greedy":
        conversation.set_temperature(0)
    elif word == "seed":
        set_seed(conversation, number(value, int))
    elif word == "counters":
        counted = link.counters()
        rows = dict(cycles=counted.cycles, tokens=counted.tokens, stalls=counted.stalls)
        rows |= link.cache_counters()
        console = Console(highlight=False)
        show_figures(console, {name: f"{count:,}" for name, count in rows.items()})
    elif word in ("pause", "resume", "reset"):
        getattr(link, word)()
    elif word == "help":
        show_figures(Console(highlight=False), HELP)
    else:
        raise UserError(f"there is no command {line!r}: see :help")


def answer(conversation: Conversation, text: str) -> None:
    """Print a prompt's continuation as it comes."""
    conversation.encode(text)
    print(text, end="", flush=True)
    for piece in conversation.continuation(text):
        print(piece, end="", flush=True)
    print(flush=True)


def number(value: str, kind: type):
    """Parse the number of a command.

    Raises
    ------
    UserError
        If it is not a number.
    """
    try:
        return kind(value)
    except ValueError:
        raise UserError(f"{value!r} is not a number: see :help") from None


def set_seed(conversation: Conversation, seed: int) -> None:
    """Set the seed, for which hardware has 32 bits."""
    from gptloom.model.sampling import check_seed

    conversation.link.seed(check_seed(seed))
