"""``gptloom import``: a checkpoint from a model that another program made."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gptloom.cli.output import console_for, show_figures
from gptloom.cli.takers import check_runnable
from gptloom.cli.train import check_output, command_line
from gptloom.model.errors import UserError, explain
from gptloom.model.imports.options import End, Options

if TYPE_CHECKING:
    from gptloom.model.checkpoint import Checkpoint


def import_(
    file: Annotated[
        Path,
        typer.Argument(
            help="A llama2.c .bin, a Hugging Face folder, or a microGPT's tensors "
            "(.safetensors, .npz, .npy, .pt, .json)."
        ),
    ],
    out: Annotated[Path, typer.Option(help="The checkpoint to write, FILE.safetensors.")],
    tokenizer: Annotated[
        Path | None,
        typer.Option(
            help="Its tokenizer: llama2.c's .bin, a tokenizer.json, or the text of a microGPT.",
            show_default="beside the file",
        ),
    ] = None,
    context: Annotated[
        int | None, typer.Option(help="Positions to keep, of rotary ones.", show_default="all")
    ] = None,
    heads: Annotated[
        int | None, typer.Option(help="Heads of a microGPT, if its file does not say.")
    ] = None,
    characters: Annotated[
        str | None,
        typer.Option(help="Characters of a microGPT in the order of its tokens, if it has none."),
    ] = None,
    end: Annotated[
        End | None,
        typer.Option(help="Place of a microGPT's end token.", show_default="by the file, or last"),
    ] = None,
    text: Annotated[
        Path | None,
        typer.Option(
            help="Text to choose the integers' scales with.", show_default="the model's own"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed: same calibration documents.")] = 0,
) -> None:
    """Import a model of the Llama family or a microGPT, as a checkpoint."""
    from gptloom.model.checkpoint import save_checkpoint
    from gptloom.model.imports.recognise import read_model

    check_output(out)
    if seed < 0:
        raise UserError(f"seed is {seed}: give 0 or a positive number")
    content = None if text is None else _read_text(text)
    options = Options(
        tokenizer, context, characters, end, heads, partial(check_runnable, done="imported")
    )
    checkpoint, source = read_model(file, options)
    checkpoint = _calibrated(checkpoint, content, seed)
    given = {
        "tokenizer": tokenizer, "context": context, "heads": heads, "characters": characters,
        "end": end, "text": text, "seed": seed, "out": out,
    }  # fmt: skip
    command = command_line("import", given)
    origin = {
        "source": source.name,
        "file": checkpoint.name,
        "sha256": _digest(file),
        "licence": "unknown",
        "command": f"{command} {shlex.quote(str(file))}",
        "calibration": "sampled from the model" if text is None else text.name,
    }
    save_checkpoint(out, replace(checkpoint, metadata={"imported": origin}))
    console = console_for(out)
    show_figures(console, _figures(checkpoint, source.name))
    console.print(f"Wrote {out}.", markup=False)


def _read_text(path: Path) -> str:
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise UserError(f"{path} cannot be read {explain(error)}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text: convert it") from None
    if not text.strip():
        raise UserError(f"{path} is empty: give a text, or leave --text out")
    return text


def _calibrated(checkpoint: Checkpoint, text: str | None, seed: int) -> Checkpoint:
    from gptloom.model.imports.calibration import calibrate_by_sampling, calibrate_by_text

    if text is not None:
        return calibrate_by_text(checkpoint, text, seed)
    with _show_positions() as progress:
        return calibrate_by_sampling(checkpoint, seed, progress)


@contextmanager
def _show_positions() -> Iterator[Callable[[int, int], None]]:
    """Show a bar; yield the function that reports the positions done."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("sampling documents")
        yield lambda done, of: progress.update(task, completed=done, total=of)


def _digest(file: Path) -> str:
    """Return the SHA-256 of a file, or of a folder's weights."""
    parts = sorted(file.glob("*.safetensors")) if file.is_dir() else [file]
    digest = sha256()
    for part in parts:
        digest.update(part.read_bytes())
    return digest.hexdigest()


def _figures(checkpoint: Checkpoint, source: str) -> dict[str, str]:
    from rich.markup import escape

    config, rows = checkpoint.config, checkpoint.calibration
    first = checkpoint.tokenizer.decode(rows[0, 1:][rows[0, 1:] >= 0].tolist())
    return {
        "source": source,
        "shape": ", ".join(f"{name} {size}" for name, size in config.to_dict().items()),
        "parameters": f"{config.parameters:,}",
        "calibration": f"{len(rows)} documents, {(rows[:, 1:] >= 0).sum():,} tokens",
        "one of them": escape(repr(first[:60])),
    }
