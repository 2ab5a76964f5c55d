"""Functional coverage: situations in which a core has been compared."""

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from amaranth.lib import data

from gptloom.firmware.machine import QUAD
from gptloom.hdl.core import Token
from gptloom.hdl.folded.layouts import Temperature
from gptloom.model.arithmetic import (
    MANTISSA_BITS,
    Integers,
)
from gptloom.model.config import ModelConfig
from gptloom.model.family import Family
from gptloom.model.formats import STANDARD, Precision
from gptloom.model.network import Network, network
from gptloom.model.positions import Positions
from gptloom.model.sites import Function, Kind, Site
from gptloom.model.tables import noise_entries
from verification.scoreboard.control import Course, Run, State, Stimulus
from verification.scoreboard.values import TokenNumbers

Bin = tuple[str, str]
"""A group, and an event in it."""

_OFFERS = ("seed", "read", "load")


class Coverage:
    """Counts events by group and bin; every bin that can be hit is a goal.

    Parameters
    ----------
    config, precision
        Shape and widths of the models that the core computes.

    Attributes
    ----------
    hits
        Number of hits of each bin.
    """

    def __init__(self, config: ModelConfig, precision: Precision = STANDARD):
        self.config, self._network = config, network(config, precision)
        noise = noise_entries(precision.noise_bits)
        self._noise = {"largest": noise.max(), "smallest": noise.min()}
        self.hits: Counter[Bin] = Counter()
        self.goals = frozenset(_goals(config, self._network))
        self.restart()

    def restart(self) -> None:
        """Forget the core's state, but keep all hits: the core restarts at cycle 0."""
        self._states: list[tuple[int, State]] = [(0, State.IDLE)]
        self._emitted: list[int] = []
        self._run: Run | None = None
        self._temperature: int | None = None

    @property
    def missing(self) -> list[Bin]:
        """Goals that were not hit."""
        return sorted(self.goals - self.hits.keys())

    def by_group(self) -> dict[str, tuple[int, int]]:
        """Return the number of bins that were hit and the number of bins, by group."""
        hit = Counter(group for group, _ in self.goals & self.hits.keys())
        return {
            group: (hit[group], n) for group, n in sorted(Counter(g for g, _ in self.goals).items())
        }

    def observe(self, course: Course, inputs: Stimulus, begin: int, numbers: TokenNumbers) -> None:
        """Count a block of cycles.

        Parameters
        ----------
        course
            Events in the block.
        inputs
            The core's inputs.
        begin
            Number of the block's first cycle.
        numbers
            Meaning of its tokens' numbers.
        """
        self._observe_states(course, inputs, begin)
        self._observe_output(course)
        for run in course.runs:
            self._observe_start(run, inputs, begin)
            if run.made:
                self._observe_values(run, numbers)

    def _hit(self, group: str, what: object, wanted: object = True) -> None:
        if wanted:
            self.hits[group, str(what)] += 1

    def _observe_states(self, course: Course, inputs: Stimulus, begin: int) -> None:
        states = self._states + course.states
        cycles = np.array([cycle for cycle, _ in states])
        for (cycle, state), (after, following) in pairwise(states):
            self._hit("state", following.name)
            if state is State.IDLE and following is State.TOKEN:
                self._hit("next document", "at once" if after == cycle + 1 else "later")
        when = begin + np.arange(len(inputs["rst"]))
        # If several states begin in one cycle, the last one counts.
        now = np.array([int(state) for _, state in states])[
            np.searchsorted(cycles, when, "right") - 1
        ]
        for state in State:
            self._hit("reset", state.name, np.any(inputs["rst"][now == state]))
            for port in _OFFERS:
                waits = "idle" if state is State.IDLE else "waits"
                offered = inputs[f"{port}__valid"][now == state]
                self._hit("between documents", f"{port}, {waits}", np.any(offered))
        self._states = states[-1:]

    def _observe_output(self, course: Course) -> None:
        self._emitted += [emission.cycle for emission in course.emissions]
        for taken in course.taken:
            waited = taken - self._emitted.pop(0) if self._emitted else 0
            self._hit("output taken", "at once" if waited == 0 else "later")
        self._emitted = self._emitted[-1:]
        self._hit("output taken", "after a stall", course.stalls)
        for emission in course.emissions:
            emitted = data.Layout.cast(Token).from_bits(emission.payload)
            ended, bos = emitted.last, emitted.token == self.config.vocabulary - 1
            self._hit("document ends", "with its token" if bos else "with the context", ended)
            if ended and self.config.endless:
                begun = any(run.start == emission.cycle for run in course.runs)
                self._hit("stream", "goes on" if begun else "ends")

    def _observe_start(self, run: Run, inputs: Stimulus, begin: int) -> None:
        self._hit("sampled token" if run.sample else "known token", run.position)
        known = self._run and not self._run.sample and run.position == self._run.position + 1
        if run.sample and (run.number == 0 or known):
            self._hit("prompt's length", run.position + 1)
        if self.config.endless:
            self._hit("ring", "wraps", run.number == self.config.context)
            self._hit("ring", "wraps again", run.number >= 2 * self.config.context)
        at = run.start - begin
        if run.sample and 0 <= at < len(inputs["temperature"]):
            bits = int(inputs["temperature"][at])
            greedy = Temperature.from_bits(bits).greedy
            self._hit("temperature", "greedy" if greedy else "with noise")
            within = run.position > 0 and self._run and self._run.sample
            changed = within and self._temperature not in (None, bits)
            self._hit("temperature", "changes within a document", changed)
            self._temperature = bits
        self._run = run

    def _observe_values(self, run: Run, numbers: TokenNumbers) -> None:
        def of(site: Site, what: str = "value") -> Integers:
            return run.made.numbers[numbers.segment(site, what).indices]

        seen, table = min(run.number + 1, self.config.context), self._network
        filled = seen % QUAD == 0
        self._hit("rows", "in whole words" if filled else "in a part of a word")
        if self.config.positions is Positions.ROTARY:
            cosine, sine = of(table.embedding, "turn")
            for quarter in _QUARTERS:
                self._hit("angles", quarter, np.any(_QUARTERS[quarter](cosine, sine)))
        for site in table.sites:
            values = of(site)
            if site.kind in (Kind.SCORES, Kind.SOFTMAX):
                values = values[:seen]
            if _is_signed(site):
                self._extremes(_group(site), values, site.bits)
            if site.function is Function.RELU:
                self._hit(_group(site), "largest", np.any(values == _largest(site.bits)))
                self._hit(_group(site), "cut by ReLU", np.any(values == 0))
            if site.function is Function.SILU:
                argument, limit = of(site, "scaled"), 1 << site.scaled_bits - 1
                self._hit(_group(site), "largest", np.any(argument == limit - 1))
                self._hit(_group(site), "smallest", np.any(argument == -limit))
                self._hit(_group(site), "least slope", np.any((argument < 0) & (values < -280)))
            if site.rotated:
                self._extremes(f"{_group(site)}, not turned", of(site, "scaled"), site.scaled_bits)
            if site.matrix and numbers.model.row_shifts:
                self._observe_exponents(_group(site), numbers.model.row_shifts[site.matrix.name])
            if site.kind is Kind.SOFTMAX:
                self._observe_softmax(_group(site), of(table[site.source])[:seen], values)
        if run.sample:
            self._extremes(_group(table.head), of(table.head), table.head.bits)
            noise = of(table.head, "noise")
            for end, value in self._noise.items():
                self._hit("noise", end, np.any(noise == value))
            self._hit("token", run.made.token)

    def _observe_softmax(self, group: str, scores: Integers, numerators: Integers) -> None:
        self._hit(group, "vanishing numerator", np.any(numerators == 0))
        self._hit(group, "largest numerator", np.any(numerators == (1 << MANTISSA_BITS) - 1))
        best = scores.argmax(axis=0)
        self._hit(group, "the first is the largest", len(scores) > 1 and np.any(best == 0))
        self._hit(group, "a later one is the largest", np.any(best > 0))
        self._hit(group, "equals", np.any((scores == scores.max(axis=0)).sum(axis=0) > 1))

    def _observe_exponents(self, group: str, shifts: Integers) -> None:
        self._hit(group, "rows without a shift of their own", np.any(shifts == 0))
        self._hit(group, "rows with a shift of their own", np.any(shifts > 0))

    def _extremes(self, group: str, values: Integers, bits: int) -> None:
        self._hit(group, "largest", np.any(values == _largest(bits)))
        self._hit(group, "smallest", np.any(values == ~_largest(bits)))


_QUARTERS = {
    "none": lambda cosine, sine: sine == 0,
    "first": lambda cosine, sine: (cosine > 0) & (sine > 0),
    "second": lambda cosine, sine: (cosine < 0) & (sine > 0),
    "third": lambda cosine, sine: (cosine < 0) & (sine < 0),
    "fourth": lambda cosine, sine: (cosine > 0) & (sine < 0),
}
"""Quarters of a turn in which an angle may be."""


def _largest(bits: int) -> int:
    return (1 << bits - 1) - 1


def _is_signed(site: Site) -> bool:
    """Return whether a layer's values can reach both ends of their range."""
    inside = site.layer is not None and site.kind is not Kind.NORM
    return inside and site.function is Function.NONE and site.kind is not Kind.SOFTMAX


def _group(site: Site) -> str:
    return site.name if site.layer is None else f"layer {site.layer}, {site.name}"


def _goals(config: ModelConfig, table: Network) -> Iterator[Bin]:
    last = config.context - 1
    # A stream has no end at which known tokens would have to be dropped.
    states = [state.name for state in State if not (config.endless and state is State.DROP)]
    groups: dict[str, list[object]] = {
        "state": states,
        "reset": states,
        "next document": ["at once", "later"],
        "between documents": [f"{p}, {w}" for p in _OFFERS for w in ("idle", "waits")],
        "output taken": ["at once", "later", "after a stall"],
        "document ends": ["with its token", *["with the context"] * (not config.endless)],
        "rows": ["in whole words", "in a part of a word"],
        "known token": list(range(last)),
        "sampled token": list(range(last + 1)),
        "prompt's length": list(range(1, last + 2)),
        "temperature": ["greedy", "with noise", "changes within a document"],
        "noise": ["largest", "smallest"],
        _group(table.head): ["largest", "smallest"],
        "token": list(range(config.vocabulary)),
    }
    if config.endless:
        groups |= {"stream": ["goes on", "ends"], "ring": ["wraps", "wraps again"]}
    if config.positions is Positions.ROTARY:
        groups["angles"] = list(_QUARTERS)
    for site in table.sites:
        if _is_signed(site):
            groups[_group(site)] = ["largest", "smallest"]
        if site.rotated:
            groups[f"{_group(site)}, not turned"] = ["largest", "smallest"]
        if site.function is Function.SILU:
            groups[_group(site)] = ["largest", "smallest", "least slope"]
        if site.matrix and config.family is Family.LLAMA:
            shifts = ["rows without a shift of their own", "rows with a shift of their own"]
            groups[_group(site)] = [*groups.get(_group(site), []), *shifts]
        if site.function is Function.RELU:
            groups[_group(site)] = ["largest", "cut by ReLU"]
        if site.kind is Kind.SOFTMAX:
            groups[_group(site)] = [
                "vanishing numerator",
                "largest numerator",
                "the first is the largest",
                "a later one is the largest",
                "equals",
            ]
    for group, bins in groups.items():
        for what in bins:
            yield group, str(what)
