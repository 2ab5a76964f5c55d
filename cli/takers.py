"""Cores and boards that take a shape, shown before it is trained."""

from rich.console import Console
from rich.markup import escape

from gptloom.cli.output import Progress, say, show_figures
from gptloom.model.config import ModelConfig
from gptloom.model.errors import UserError
from gptloom.model.family import Family
from gptloom.model.tokenizer import Tokenizer


def show_takers(config: ModelConfig, tokenizer: Tokenizer) -> None:
    """Show which cores and boards take a shape.

    Raises
    ------
    UserError
        If no core takes it; models of the Llama family only have to be small enough.
    """
    shape = ", ".join(f"{name} {size}" for name, size in config.to_dict().items())
    console = Console(highlight=False)
    if config.family is not Family.MICROGPT:
        check_runnable(config, "trained")
        show_figures(console, {"shape": shape, "parameters": f"{config.parameters:,}"})
        return
    with Progress()("which cores and boards take this shape"):
        from gptloom.boards.takers import UNROLLED, find_takers

        takers = find_takers(config, tokenizer)
        boards = _boards(config, tokenizer, takers.lanes[0]) if takers.lanes else "none"
    rows = {
        "shape": shape,
        "folded core": f"{', '.join(map(str, takers.lanes))} lanes" if takers.lanes else "none",
    }
    refused: dict[str, list[str]] = {}
    for core, sentence in takers.refusals.items():
        if core != UNROLLED:
            refused.setdefault(sentence, []).append(str(core))
    rows |= {f"not {', '.join(lanes)} lanes": sentence for sentence, lanes in refused.items()}
    rows["boards"] = boards
    rows["unrolled core"] = takers.refusals.get(
        UNROLLED, "yes; how much of an ECP5 it takes depends on the weights"
    )
    show_figures(console, {name: escape(row) for name, row in rows.items()})


def check_runnable(config: ModelConfig, done: str) -> None:
    """Warn that no core computes a shape, and refuse it if it is too large for every core.

    Parameters
    ----------
    config
        The shape.
    done
        Fate of the model, with a warning or without: a participle.

    Raises
    ------
    UserError
        It is too large.
    """
    from gptloom.firmware.fit import check_shape, check_size

    check_size(config)
    try:
        check_shape(config)
    except UserError as refusal:
        say("warning", f"it is {done}, but not run by hardware: {refusal}")


def _boards(config: ModelConfig, tokenizer: Tokenizer, lanes: int) -> str:
    """Return the boards that hold a folded core, or the reason why none does."""
    from gptloom.boards.takers import find_boards

    try:
        names = find_boards(config, tokenizer, lanes)
    except UserError as error:
        return f"none: {error}"
    return f"{lanes} lanes fit {', '.join(names)}" if names else f"none has room for {lanes} lanes"
