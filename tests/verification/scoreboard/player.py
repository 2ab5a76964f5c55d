"""Random use of a core: gaps, back-pressure, prompts, temperatures, seeds, resets."""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from amaranth.lib import data

from gptloom.firmware.image import build_image
from gptloom.firmware.machine import LANE_BITS, Machine
from gptloom.firmware.page import encode_scale
from gptloom.firmware.regions import NINTHS, Region
from gptloom.hdl.core import Address, Prompt, Write
from gptloom.model.integer import IntegerModel
from gptloom.sim.session import encode

_STREAMS = ("seed", "read", "load", "i")


@dataclass(frozen=True)
class Habits:
    """Probabilities of events in a cycle.

    Attributes
    ----------
    offer, take
        Probability that a known token is offered, if there is one, and that the output is ready.
    warm
        Probability that the temperature changes.
    seed
        Probability that a new seed is offered; it is taken between documents.
    read
        Probability that a byte of the memories is requested; it is delivered between documents.
    reset
        Probability of a reset. The settings are loaded again after it.
    longest
        Most known tokens in a document; the core drops those beyond the context.
    load
        Probability that a byte of the model is loaded again; it is taken between documents.
    """

    offer: float = 1.0
    take: float = 1.0
    warm: float = 0.0
    seed: float = 0.0
    read: float = 0.0
    reset: float = 0.0
    longest: int = 1
    load: float = 0.0

    @classmethod
    def drawn(cls, draw: random.Random, context: int) -> Self:
        """Return habits that are drawn, with prompts that may be longer than a context."""
        return cls(
            offer=draw.choice((1, 0.1)),
            take=draw.choice((1, 0.2, 0.01)),
            warm=draw.choice((0, 0.02)),
            seed=draw.choice((0, 0.01)),
            read=draw.choice((0, 0.01)),
            reset=draw.choice((0, 0.001)),
            longest=draw.randrange(1, 2 + context),
            load=draw.choice((0, 0.01)),
        )


class Player:
    """Random inputs for a core, cycle by cycle, following its streams' rules.

    Parameters
    ----------
    machine, model
        Machine of the core, and the model that it holds or will hold.
    number
        Seed of the random draws; the same seed repeats everything.
    load
        Whether to load the model first.
    """

    def __init__(self, machine: Machine, model: IntegerModel, number: int, load: bool = False):
        self._model = model
        self._draw = random.Random(number)
        self._known: deque[int] = deque()
        self._offered: dict[str, int] = {}
        image = build_image(model, machine)
        writes = [
            (region, encode(Write, region=region, address=address, data=byte))
            for region, address, byte in image.writes(machine)
        ]
        self._reload = [bits for region, bits in writes if region is Region.SETTINGS]
        self._loads = deque(bits for _, bits in writes) if load else deque()
        # No token can be offered before the settings are loaded.
        self._setting_up = load
        self._writes = self._groups(machine, writes)
        self._contents = [item for item in image.checked(machine).items() if item[1]]
        self._scales = [model.logit_scale(t) for t in (0, 0.1, 0.3, 0.5, 0.8, 1.0, 1.4, 2.0)]
        self._ready = self._reset = False

    @property
    def is_loading(self) -> bool:
        """Return whether part of the model is still to be loaded."""
        return bool(self._loads) or "load" in self._offered

    def drive(self, habits: Habits) -> dict[str, int]:
        """Return the inputs of the coming cycle, by port."""
        chance = self._draw.random
        self._reset = chance() < habits.reset
        self._ready = chance() < habits.take
        ports = {"rst": int(self._reset), "o__ready": int(self._ready)}
        if chance() < habits.warm:
            ports["temperature"] = encode_scale(self._draw.choice(self._scales))
        if chance() < habits.seed:
            self._offer("seed", self._draw.choice((0, 1, self._draw.getrandbits(32))))
        if chance() < habits.read:
            region, contents = self._draw.choice(self._contents)
            address = self._draw.randrange(len(contents))
            self._offer("read", encode(Address, region=region, address=address))
        if not self._loads and habits.load and chance() < habits.load:
            self._loads.extend(self._draw.choice(self._writes))
        if self._loads and "load" not in self._offered:
            self._offer("load", self._loads.popleft())
        if chance() < habits.offer and "i" not in self._offered and not self._setting_up:
            if not self._known:
                self._known.extend(self._document(habits.longest))
            self._offer("i", self._known.popleft())
        for port in _STREAMS:
            ports[f"{port}__valid"] = int(port in self._offered)
            if port in self._offered:
                ports[f"{port}__payload"] = self._offered[port]
        return ports

    def observe(self, read: Callable[[str], int]) -> bool:
        """Observe, before the clock edge, what the core accepts; return whether a token is taken.

        Parameters
        ----------
        read
            Returns the value of a port.
        """
        accepted = [port for port in self._offered if read(f"{port}__ready")]
        taken = bool(self._ready and read("o__valid"))
        for port in list(self._offered) if self._reset else accepted:
            del self._offered[port]
        if self._reset:
            self._loads = deque(self._reload)
            self._known.clear()
            self._setting_up = True
        elif not self.is_loading:
            self._setting_up = False
        return taken

    @staticmethod
    def _groups(machine: Machine, writes: list[tuple[Region, int]]) -> list[tuple[int, ...]]:
        """Return the writes that may be repeated, alone or with those that they need before."""
        found, ninths = [], None
        layout = data.Layout.cast(Write)
        for region, bits in writes:
            if region is not Region.OPERANDS or machine.lane_bits == LANE_BITS:
                found.append((bits,))
            elif layout.from_bits(bits).address % (2 * NINTHS) == 0:
                ninths = bits
            else:
                found.append((ninths, bits))
        return found

    def _offer(self, port: str, payload: int) -> None:
        """Offer an item on an input stream, unless one is there: it stays until accepted."""
        self._offered.setdefault(port, payload)

    def _document(self, longest: int) -> list[int]:
        """Return a random document's known tokens, encoded for the input stream."""
        bos = self._model.tokenizer.bos
        others = [self._draw.randrange(bos) for _ in range(self._draw.randrange(longest))]
        tokens = [bos, *others]
        return [encode(Prompt, token=t, last=i == len(others)) for i, t in enumerate(tokens)]
