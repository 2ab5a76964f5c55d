"""The unrolled core's stages, each compared with the golden model in the cycle in which it is due.

A token that enters is computed in fixed time, so all of its values have their cycles. What is
recorded of a simulation, by whatever simulator, is compared with the golden model's trace of the
same stream: :class:`Scoreboard` finds the first value that differs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gptloom.hdl.unrolled.core import UnrolledCore
from gptloom.model.merged.golden import GoldenModel, Stream
from gptloom.model.merged.integer import MergedModel

ENTER = ("turns.enter", "turns.turn", "turns.token", "turns.position")
"""What says that a token enters, of which stream, and which one."""


OF_SAMPLES = ("noise", "offset", "token")
"""What is nothing where the prompt says what follows: no noise is drawn."""


@dataclass(frozen=True)
class Stage:
    """Values of a token by the time they are there.

    Attributes
    ----------
    site
        What they are, as the golden model's trace names them.
    signals
        Where each of the site's values is, in the order of its flattened array.
    cycles
        When each of them is there, in cycles since the token's turn.
    """

    site: str
    signals: tuple[str, ...]
    cycles: tuple[int, ...]


def stages(core: UnrolledCore, model: MergedModel) -> list[Stage]:
    """Return what is compared of a core, in the order of the pipeline."""
    config, at = model.config, core.schedule
    width, heads, vocabulary = config.width, config.heads, config.vocabulary
    first = ("a1", config.hidden), ("wo", width), ("a2", vocabulary)

    def row(site: str, path: str, count: int, cycle: int, begin: int = 0) -> Stage:
        signals = tuple(f"{path}__{i}" for i in range(begin, begin + count))
        return Stage(site, signals, (cycle,) * count)

    def beats(site: str, path: str, cycle: int) -> Stage:
        """Of every position and head, some positions in a cycle."""
        cells = [
            (f"{path}__{position % core.positions}__{head}", cycle + position // core.positions)
            for position in range(config.context)
            for head in range(heads)
        ]
        signals, cycles = zip(*cells, strict=True)
        return Stage(site, signals, cycles)

    found = [row(name, f"attention.{name}", width, at.table) for name in ("q", "k", "v")]
    found += [
        beats("score", "attention.scores.o", at.scores),
        beats("numerator", "attention.numerators.o", at.numerators),
        row("denominator", "attention.mix.total", heads, at.sums),
        row("weighted", "attention.mix.weighted", width, at.sums + 1),
        row("mix", "attention.o", width, at.mix),
    ]
    begin = 0
    for name, count in first:
        found.append(row(name, "first.all", count, at.first, begin))
        begin += count
    lanes = core.values_per_cycle
    noise = [(f"noise.o__{i % lanes}", at.offset_begins + i // lanes) for i in range(vocabulary)]
    signals, cycles = zip(*noise, strict=True)
    return [
        *found,
        row("hidden", "second.i", config.hidden, at.first),
        row("residual", "root.i", width, at.root_begins),
        Stage("root", ("root.o",), (at.root,)),
        row("direct", "offset.direct", vocabulary, at.offset_begins),
        Stage("noise", signals, cycles),
        row("offset", "offset.o", vocabulary, at.offset),
        row("b", "second.all", vocabulary, at.second),
        Stage("token", ("choose.token",), (core.length,)),
    ]


@dataclass
class DivergenceError(Exception):
    """The first value that is not the golden model's.

    Attributes
    ----------
    stream, position, token
        Of the token under way.
    site, element
        Which of its values.
    cycle
        In which it is due.
    expected, seen
        The signal's bits.
    """

    stream: int
    position: int
    token: int
    site: str
    element: int
    cycle: int
    expected: int
    seen: int

    def __str__(self) -> str:
        return (
            f"stream {self.stream}, position {self.position}, token {self.token}: {self.site}, "
            f"element {self.element}, cycle {self.cycle}: expected {self.expected:#x}, seen "
            f"{self.seen:#x}"
        )


class Scoreboard:
    """Compares everything that was recorded of a core from power-on.

    Parameters
    ----------
    core
        What was simulated.
    model
        What it computes.
    streams
        What each stream was made with; the others are empty.

    Attributes
    ----------
    stages
        What is compared.
    signals
        What is to be recorded.
    """

    def __init__(self, core: UnrolledCore, model: MergedModel, streams: Sequence[Stream]):
        self.stages = stages(core, model)
        self._length = core.length
        self._golden, self._streams = GoldenModel(model), streams
        self.signals = tuple(
            dict.fromkeys([*ENTER, *(name for stage in self.stages for name in stage.signals)])
        )

    def check(self, recording: Mapping[str, NDArray[np.uint64]], widths: Mapping[str, int]) -> int:
        """Compare all tokens that have gone through the whole pipeline.

        Parameters
        ----------
        recording
            Of every one of `signals`, cycle by cycle.
        widths
            Bits of each of them.

        Returns
        -------
        int
            How many values were compared.

        Raises
        ------
        DivergenceError
            Of the first one that differs, furthest upstream.
        """
        compared, cycles = 0, len(recording[ENTER[0]])
        traces = [_traces(self._golden, stream) for stream in self._streams]
        for cycle in np.flatnonzero(recording[ENTER[0]]).tolist():
            stream, token, position = (int(recording[name][cycle]) for name in ENTER[1:])
            trace = next(traces[stream])
            if cycle + self._length >= cycles:
                continue
            is_known = position < len(self._streams[stream].prompt)
            for stage in self.stages:
                if is_known and stage.site in OF_SAMPLES:
                    continue
                values = trace[stage.site]
                for element, expected in enumerate(values):
                    name, due = stage.signals[element], cycle + stage.cycles[element]
                    expected &= (1 << widths[name]) - 1
                    seen = int(recording[name][due])
                    if seen != expected:
                        raise DivergenceError(
                            stream, position, token, stage.site, element, due, expected, seen
                        )
                compared += len(values)
        return compared


def _traces(golden: GoldenModel, stream: Stream) -> Iterator[dict[str, list[int]]]:
    """Yield what every site was, token by token, known ones included."""
    found: dict[str, list[int]] = {}

    def note(_layer: int, site: str, value: Iterable[int]) -> None:
        found[site] = np.asarray(value).ravel().tolist()

    for _ in golden.generate_streams([stream], lambda *_: note):
        yield dict(found)
        found.clear()
