"""A simulated core that generates documents: the output of a run, for either core."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from gptloom.cli.output import cache_row, console_for, kl_row, say, show_figures

if TYPE_CHECKING:
    from gptloom.model.integer import IntegerModel
    from gptloom.model.merged.integer import MergedModel
    from gptloom.model.tokenizer import Tokenizer
    from gptloom.sim.engines import Engine
    from gptloom.sim.generation import Generation, Tell
    from gptloom.sim.session import Emitted


class Printer:
    """Prints documents of one stream as their tokens come, or those of several as they end.

    Parameters
    ----------
    write
        Prints a part of a text.
    tokenizer
        Meaning of the tokens.
    whole
        Whether to print documents when they end.
    """

    def __init__(self, write: Callable[[str], None], tokenizer: Tokenizer, *, whole: bool):
        self._write, self._tokenizer, self._whole = write, tokenizer, whole
        self._begin()

    def _begin(self) -> None:
        from gptloom.model.tokenizer import TextStream

        self._text, self._told = TextStream(self._tokenizer), 0

    def __call__(self, token: Emitted, document: Sequence[int]) -> None:
        """Take a token and its document so far."""
        if not self._whole:
            self._write("".join(map(self._text.add, document[self._told :])))
            self._told = len(document)
        if token.last:
            self.finish(document)

    def finish(self, document: Sequence[int]) -> None:
        """Print what is left of a document, and end its line."""
        if self._whole:
            self._write(self._tokenizer.decode(document) + "\n")
        else:
            self._write(self._text.add(self._tokenizer.end) + "\n")
            self._begin()


@dataclass
class Simulated:
    """A core under simulation, ready to generate.

    Attributes
    ----------
    title
        The hardware in words.
    model, checkpoint
        The network, and the name of the checkpoint that it was quantised from.
    engine
        The core's simulation.
    generate
        Generates documents and tells its argument of each token (:data:`.Tell`); all tokens equal
        the golden model's.
    describe
        Makes the entries of the JSON object that only this core has, and the table's rows about
        cycles and speed.
    signals, write_wave
        Signals of a waveform, and the function that writes it to a file and says how to open it.
    comparison
        Addition to the sentence on the comparison with the golden model.
    parallel
        Whether it generates several documents at a time.
    """

    title: str
    model: IntegerModel | MergedModel
    checkpoint: str
    engine: Engine
    generate: Callable[[Tell], Generation]
    describe: Callable[[Generation], tuple[dict, dict[str, str]]]
    signals: Sequence[str]
    write_wave: Callable[[Path], str]
    comparison: str = ""
    parallel: bool = False

    def run(self, wave: Path | None, picture: Path | None, json_file: Path | None) -> None:
        """Generate documents, print them and the final table, and write the files asked for."""
        from rich.console import Console

        from gptloom.model.files import write_file, write_json
        from gptloom.sim.generation import MismatchError

        console = console_for(wave, picture, json_file, record=picture is not None)
        engine = self.engine
        if engine.name == "pysim":
            notices = Console(stderr=True, highlight=False)
            notices.print(f"[yellow]Simulating with {engine.description}: slow.")
        console.print(f"[dim]{self.title}, simulated by {engine.description}[/]")
        if wave:
            engine.record(self.signals)

        def write(text: str) -> None:
            # As it is: brackets are no markup, and lines are the terminal's.
            console.out(text, end="", highlight=False)

        printer = Printer(write, self.model.tokenizer, whole=self.parallel)
        try:
            generation = self.generate(printer)
        except MismatchError as error:
            say("error", str(error))
            raise typer.Exit(1) from None
        if not generation.emitted[-1].last:
            printer.finish(generation.names[-1])
        figures, rows = self._report(generation)
        console.print()
        show_figures(console, rows)
        if picture:
            write_file(picture, console.export_svg(title="gptloom generate").encode())
        if json_file:
            write_json(json_file, figures)
        if wave:
            console.print(self.write_wave(wave), soft_wrap=True)

    def _report(self, generation: Generation) -> tuple[dict, dict[str, str]]:
        """Return the documented JSON object, and the rows of the table."""
        from gptloom.model.loss import loss_label
        from gptloom.sim.generation import CLOCK_MHZ

        own, speeds = self.describe(generation)
        cycles, losses = generation.cycles_per_token, self.model.metadata
        texts = [self.model.tokenizer.decode(document) for document in generation.names]
        figures = {
            "text": texts[0],
            "texts": texts,
            "names": texts,
            "tokens": generation.tokens,
            "cache": generation.cache,
            "cycles": generation.cycles,
            "cycles_per_token": round(cycles, 3),
            "mhz": CLOCK_MHZ,
            "tokens_per_second": round(CLOCK_MHZ * 1e6 / cycles),
            "engine": self.engine.name,
            "checkpoint": self.checkpoint,
            "float_loss": losses["float_loss"],
            "integer_loss": losses["integer_loss"],
            # Unknown for a stream without end.
            "kl": losses.get("kl"),
            # A difference would have ended the run.
            "equal_to_golden": True,
        }
        rows = {
            "tokens": f"{generation.tokens:,}",
            "cycles": f"{generation.cycles:,}",
            **speeds,
            loss_label(losses["loss_set"]): (
                f"{losses['integer_loss']:.4f} (float {losses['float_loss']:.4f})"
            ),
            **kl_row(losses),
            "equal to the golden model": f"yes, all {generation.tokens:,} tokens{self.comparison}",
            **cache_row(generation.cache),
        }
        return figures | own, rows
