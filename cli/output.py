"""Output of subcommands: errors, tables of figures, progress; and the check of output files."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from gptloom.model.files import check_writable, is_stdout
from gptloom.model.loss import loss_documents

if TYPE_CHECKING:
    from rich.console import Console


def say(kind: str, message: str) -> None:
    """Print one message to standard error, coloured on a terminal and never wrapped."""
    from rich.console import Console
    from rich.text import Text

    style = "bold red" if "error" in kind else "bold yellow"
    text = Text.assemble("gptloom: ", (f"{kind}:", style), " ", message)
    Console(stderr=True).print(text, soft_wrap=True)


def check_outputs(*files: Path | None) -> None:
    """Refuse files that cannot be written, before the work begins; files not asked for are None.

    Raises
    ------
    UserError
        Naming the first such file.
    """
    for file in files:
        if file:
            check_writable(file)


def console_for(*files: Path | None, record: bool = False) -> Console:
    """Return the console for people: standard output, unless one of the files is written there.

    Parameters
    ----------
    files
        Files to be written; those not asked for are None.
    record
        Whether to keep everything printed, for a picture.
    """
    from rich.console import Console

    taken = any(file and is_stdout(file) for file in files)
    return Console(stderr=taken, highlight=False, record=record)


def show_figures(console, rows: Mapping[str, str]) -> None:
    """Print a table of names and their values."""
    from rich.table import Table

    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(name, value)
    console.print(table)


_ROWS = {"writes": "written", "reads": "attended", "evictions": "evicted", "reused": "used again"}
"""Counters of the KV cache, and their displayed names."""


def cache_row(cache: Mapping[str, int]) -> dict[str, str]:
    """Return the table row that reports the cache's counters; empty if all are zero.

    Parameters
    ----------
    cache
        Counters, by the names of :class:`.CacheCounters`.
    """
    used = [f"{cache[name]:,} {what}" for name, what in _ROWS.items() if cache[name]]
    return {"rows of the KV cache": ", ".join(used)} if used else {}


def kl_row(measured: Mapping[str, object]) -> dict[str, str]:
    """Return the table row of the divergence from the float model; empty if it was not measured.

    Parameters
    ----------
    measured
        Metadata of an integer model, from :func:`.loss.measure`.
    """
    if "kl" not in measured:
        return {}
    documents = loss_documents(measured["loss_set"])
    return {"KL to the float model": f"{measured['kl']:.4f} nats ({documents} documents)"}


class Progress:
    """Shows on the terminal which stages are running, and afterwards how long each took."""

    def __init__(self):
        from rich.console import Console
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self._console = Console(stderr=True, highlight=False)
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._lock = Lock()
        self._open = 0

    @contextmanager
    def __call__(self, name: str):
        """Show a stage; several may run at the same time, in threads of their own."""
        begun = time.monotonic()
        with self._lock:
            if not self._open:
                self._bars.start()
            self._open += 1
            task = self._bars.add_task(name, total=None)
        try:
            yield
        finally:
            with self._lock:
                self._bars.remove_task(task)
                self._open -= 1
                if not self._open:
                    self._bars.stop()
        self._console.print(f"[dim]{name}: {time.monotonic() - begun:.1f} s[/]")
