"""Cores and boards that take a shape, shown before it is trained."""

from rich.console import Console
from rich.markup import escape

from gptloom.cli.output import Progress, show_figures
from gptloom.model.config import ModelConfig
from gptloom.model.errors import UserError
from gptloom.model.tokenizer import Tokenizer


def show_takers(config: ModelConfig, tokenizer: Tokenizer) -> None:
    """Show which cores and boards take a shape.

    Raises
    ------
    UserError
        If no core takes it.
    """
    with Progress()("which cores and boards take this shape"):
        from gptloom.boards.takers import UNROLLED, find_takers

        takers = find_takers(config, tokenizer)
        boards = _boards(config, tokenizer, takers.lanes[0]) if takers.lanes else "none"
    rows = {
        "shape": ", ".join(f"{name} {size}" for name, size in config.to_dict().items()),
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
    show_figures(Console(highlight=False), {name: escape(row) for name, row in rows.items()})


def _boards(config: ModelConfig, tokenizer: Tokenizer, lanes: int) -> str:
    """Return the boards that hold a folded core, or the reason why none does."""
    from gptloom.boards.takers import find_boards

    try:
        names = find_boards(config, tokenizer, lanes)
    except UserError as error:
        return f"none: {error}"
    return f"{lanes} lanes fit {', '.join(names)}" if names else f"none has room for {lanes} lanes"
