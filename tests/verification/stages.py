"""The unrolled core's stages, each compared with the golden model in the cycle in which it is due.

A token's computation takes fixed time, so each of its values has its cycle. A recording from any
simulator is compared with the golden model's trace of the same stream: :class:`Scoreboard` finds
the first value that differs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gptloom.hdl.unrolled.core import UnrolledCore
from gptloom.hdl.unrolled.enter import ROW, STREAM
from gptloom.model.merged.golden import GoldenModel, Stream
from gptloom.model.merged.integer import MergedModel

TURN = ("turns.enter", "turns.turn", "turns.token", "turns.position")
"""Signals that tell whether a token enters, its stream, the token, and its position."""


OF_SAMPLES = ("noise", "offset", "token")
"""Sites without values if the next token is in the prompt: no noise is drawn."""


@dataclass(frozen=True)
class Stage:
    """Values of a token, with their signals and cycles.

    Attributes
    ----------
    layer, site
        Name of the values in the golden model's trace.
    signals
        Signal of each of the site's values, in the order of its flattened array.
    cycles
        Cycle of each value, counted from the token's turn.
    """

    layer: int
    site: str
    signals: tuple[str, ...]
    cycles: tuple[int, ...]


def stages(core: UnrolledCore, model: MergedModel) -> list[Stage]:
    """Return the stages of a core, in pipeline order."""
    last = len(core.schedules) - 1
    found = [stage for layer in range(last + 1) for stage in _stages_of(core, model, layer)]
    return [*found, Stage(last, "token", ("choose.token",), (core.length,))]


def _stages_of(core: UnrolledCore, model: MergedModel, layer: int) -> list[Stage]:
    """Return the stages of a layer."""
    config, at = model.config, core.schedules[layer]
    width, heads, finish = config.width, config.heads, core.finishes[layer]
    outputs, lanes = len(model.layers[layer].weights["b"]), finish.values_per_cycle
    is_last = layer == config.layers - 1

    def row(site: str, path: str, count: int, cycle: int, begin: int = 0) -> Stage:
        signals = tuple(f"{path}__{i}" for i in range(begin, begin + count))
        return Stage(layer, site, signals, (cycle,) * count)

    def beats(site: str, path: str, cycle: int) -> Stage:
        """Return the stage of values of every position and head, some positions per cycle."""
        cells = [
            (f"{path}__{position % core.positions}__{head}", cycle + position // core.positions)
            for position in range(config.context)
            for head in range(heads)
        ]
        return Stage(layer, site, *zip(*cells, strict=True))

    def split(sites: Iterable[tuple[str, int]], path: str, cycle: int) -> Iterator[Stage]:
        """Yield the stages of several products whose outputs are side by side."""
        begin = 0
        for site, count in sites:
            yield row(site, path, count, cycle, begin)
            begin += count

    attention, second = f"attention_{layer}", f"finish_{layer}"
    found = []
    if layer:
        enter, before = f"enter_{layer}", core.schedules[layer - 1].done
        found += [
            Stage(
                layer,
                "stream",
                tuple(f"{enter}.stream_{i}" for i in range(4 * width)),
                (before + STREAM,) * 4 * width,
            ),
            Stage(layer, "scale", (f"{enter}.scale",), (at.begin - ROW,)),
            *split((("f", config.hidden), ("d", outputs)), f"{enter}.dense.all", at.first - 1),
            *(
                row(name, f"{enter}.{name}", count, at.first)
                for name, count in (("x", width), ("fx", config.hidden), ("lx", outputs))
            ),
        ]
    # The query of a later layer includes its scale; the golden model's does not.
    found += [
        row(name, f"{attention}.{name}", width, at.begin)
        for name in (("k", "v") if layer else ("q", "k", "v"))
    ]
    found += [
        beats("score", f"{attention}.scores.o", at.scores),
        beats("numerator", f"{attention}.numerators.o", at.numerators),
        row("denominator", f"{attention}.mix.total", heads, at.sums),
        row("weighted", f"{attention}.mix.weighted", width, at.sums + 1),
        row("mix", f"{attention}.o", width, at.mix),
        *split(
            (("a1", config.hidden), ("wo", width), ("a2", outputs)), f"{second}.first.all", at.first
        ),
        row("hidden", f"{second}.second.i", config.hidden, at.first),
        row("residual", f"{second}.root.i", width, at.root_begins),
        Stage(layer, "root", (f"{second}.root.o",), (at.root,)),
        row("direct", f"{second}.offset.direct", outputs, at.offset_begins),
        row("b", f"{second}.second.all", outputs, at.second),
    ]
    if is_last:
        noise = [(f"noise.o__{i % lanes}", at.offset_begins + i // lanes) for i in range(outputs)]
        found += [
            Stage(layer, "noise", *zip(*noise, strict=True)),
            row("offset", f"{second}.offset.o", outputs, at.offset),
        ]
    else:
        found.append(Stage(layer + 1, "inverse", (f"{second}.root.inverse",), (at.root,)))
    return found


@dataclass
class DivergenceError(Exception):
    """The first value that differs from the golden model's.

    Attributes
    ----------
    stream, position, token
        Stream, position and token of the token in progress.
    layer, site, element
        Name of the value.
    cycle
        Cycle in which it is due.
    expected, seen
        Bits of the signal.
    """

    stream: int
    position: int
    token: int
    layer: int
    site: str
    element: int
    cycle: int
    expected: int
    seen: int

    def __str__(self) -> str:
        return (
            f"stream {self.stream}, position {self.position}, token {self.token}: layer "
            f"{self.layer}, {self.site}, element {self.element}, cycle {self.cycle}: expected "
            f"{self.expected:#x}, seen {self.seen:#x}"
        )


class Scoreboard:
    """Compares a core's complete recording from power-on on.

    Parameters
    ----------
    core
        The simulated core.
    model
        Model that it computes.
    streams
        Inputs of each stream; the others are empty.

    Attributes
    ----------
    stages
        Stages to compare.
    signals
        Signals to record.
    """

    def __init__(self, core: UnrolledCore, model: MergedModel, streams: Sequence[Stream]):
        self.stages = stages(core, model)
        self._length = core.length
        self._golden, self._streams = GoldenModel(model), streams
        self.signals = tuple(
            dict.fromkeys([*TURN, *(name for stage in self.stages for name in stage.signals)])
        )

    def check(self, recording: Mapping[str, NDArray[np.uint64]], widths: Mapping[str, int]) -> int:
        """Compare all tokens that have passed through the whole pipeline.

        Parameters
        ----------
        recording
            Values of all `signals`, cycle by cycle.
        widths
            Width of each signal.

        Returns
        -------
        int
            Number of values compared.

        Raises
        ------
        DivergenceError
            For the first value that differs, furthest upstream.
        """
        compared, cycles = 0, len(recording[TURN[0]])
        traces = [_traces(self._golden, stream) for stream in self._streams]
        for cycle in np.flatnonzero(recording[TURN[0]]).tolist():
            stream, token, position = (int(recording[name][cycle]) for name in TURN[1:])
            is_known, trace = next(traces[stream])
            if cycle + self._length >= cycles:
                continue
            for stage in self.stages:
                if is_known and stage.site in OF_SAMPLES:
                    continue
                values = trace[stage.layer, stage.site]
                for element, expected in enumerate(values):
                    name, due = stage.signals[element], cycle + stage.cycles[element]
                    expected &= (1 << widths[name]) - 1
                    seen = int(recording[name][due])
                    if seen != expected:
                        raise DivergenceError(
                            stream,
                            position,
                            token,
                            stage.layer,
                            stage.site,
                            element,
                            due,
                            expected,
                            seen,
                        )
                compared += len(values)
        return compared


def _traces(
    golden: GoldenModel, stream: Stream
) -> Iterator[tuple[bool, dict[tuple[int, str], list[int]]]]:
    """Yield whether the next token is in a prompt, and the values of every site and layer."""
    found: dict[tuple[int, str], list[int]] = {}

    def note(layer: int, site: str, value: Iterable[int]) -> None:
        found[layer, site] = np.asarray(value).ravel().tolist()

    for (sampled,) in golden.generate_streams([stream], lambda *_: note):
        yield sampled is None, dict(found)
        found.clear()
