"""One model on one machine: its tokens' values, and their timing."""

from dataclasses import dataclass

import numpy as np

from gptloom.firmware.image import build_image
from gptloom.firmware.layout import Layout
from gptloom.firmware.machine import Machine
from gptloom.firmware.program import compile_program
from gptloom.model import sampling
from gptloom.model.arithmetic import Integers
from gptloom.model.cache import Eviction
from gptloom.model.golden import GoldenModel
from gptloom.model.integer import IntegerModel, LogitScale
from verification.scoreboard.computation import Computation
from verification.scoreboard.opinion import Opinion
from verification.scoreboard.plan import Plan, make_plan
from verification.scoreboard.signals import Signals
from verification.scoreboard.values import TokenNumbers


class Noise:
    """The sampler's random numbers from the last setting of the state on."""

    def __init__(self, bits: int, seed: int = 1):
        self._values = sampling.noise(seed or 1, bits)

    def take(self, count: int) -> Integers:
        """Return the next values."""
        return np.fromiter(self._values, np.int64, count)


@dataclass(frozen=True)
class Sampled:
    """Results of one token.

    Attributes
    ----------
    plan
        Cycles and places of its values.
    numbers
        All its values, see :class:`.TokenNumbers`.
    token
        Token sampled; -1 for a token of a prompt.
    """

    plan: Plan
    numbers: Integers
    token: int


class Reference:
    """A model's golden computation, token by token, with the plan of each.

    Parameters
    ----------
    machine, model
        The simulated core; the model must have a cache, and rows whose order is known ahead.

    Attributes
    ----------
    numbers, signals
        The values computed, and the signals that show them.
    contents
        Contents of the memories that can be read back: bytes by region and address.
    """

    def __init__(self, machine: Machine, model: IntegerModel):
        if model.config.eviction not in (Eviction.NONE, Eviction.WINDOW):
            raise ValueError("the scoreboard plans caches that end, and windows")
        self.machine, self.model = machine, model
        layout = Layout(machine, model.config)
        self.schedule = compile_program(model, layout)
        self.signals = Signals(machine)
        self.numbers = TokenNumbers(model, layout)
        self.contents = build_image(model, machine).checked(machine)
        self._golden, self._opinion = GoldenModel(model), Opinion(model)
        self._plans: dict[tuple[int, int, bool], Plan] = {}
        self.begin()

    def begin(self) -> None:
        """Begin a document."""
        self._cache = self._golden.new_cache()

    def plan(self, row: int, last: int, sample: bool) -> Plan:
        """Return the plan of a token with a row of the cache, the last one in use being `last`."""
        key = row, last, sample
        if key not in self._plans:
            self._plans[key] = make_plan(self.schedule, self.numbers, self.signals, *key)
        return self._plans[key]

    def step(self, token: int, position: int, scale: LogitScale | None, noise: Noise) -> Sampled:
        """Advance the document by one token.

        Parameters
        ----------
        token, position
            Token with which the core starts, and the number of those before it that its document
            began with: all of a stream.
        scale
            Scale of the logits; None for a prompt's token, after which nothing is sampled.
        noise
            Source of the sampler's values.
        """
        trace: dict[tuple[int, str], Integers] = {}

        def receive(layer: int, site: str, value: Integers) -> None:
            trace[layer, site] = value

        accumulators = self._golden.step(np.array([token]), position, self._cache, receive)
        made = Computation(self.numbers, self._opinion, trace, self._cache, token, position)
        row = int(np.flatnonzero(self._cache.born[0] == position)[0])
        plan = self.plan(row, self._cache.occupied - 1, scale is not None)
        sampled = -1
        if scale:
            logits = self._golden.scaled_logits(accumulators[0], scale)
            values = noise.take(self.model.config.vocabulary)
            sampled = sampling.draw(logits, 0 if scale.greedy else values)
            made.sample(logits, scale, values, sampled)
        return Sampled(plan, made.found, sampled)
