"""A core under simulation, as its user sees it: load an image, ask for documents, read tokens."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from amaranth.lib import data

from gptloom.firmware.image import SETTINGS, Image
from gptloom.firmware.page import encode_scale
from gptloom.firmware.regions import Region
from gptloom.hdl.core import Address, CacheCounters, Prompt, Token, Write
from gptloom.hdl.folded.core import FoldedCore
from gptloom.model.cache import Eviction
from gptloom.model.golden import GeneratedToken
from gptloom.model.integer import LogitScale
from gptloom.sim.engines import Engine

LONGEST_STEP = 100_000
"""Cycles after which a core that has not answered is considered hung."""


class HangError(Exception):
    """The core did not answer within ``LONGEST_STEP`` cycles."""


@dataclass(frozen=True)
class Emitted(GeneratedToken):
    """A token on the core's output.

    Attributes
    ----------
    cycle
        Clock cycle in which it was taken.
    cycles
        Cycles since the previous token in its stream, or since the first token of the request.
    stream
        Stream that it belongs to, in a core with several.
    prompt
        Those of the cycles that passed before the core took the last known token.
    """

    cycle: int
    cycles: int
    stream: int = 0
    prompt: int = 0


def cache_counters(engine: Engine) -> dict[str, int]:
    """Return the :class:`.CacheCounters` of a simulated core, by name."""
    layout = data.Layout.cast(CacheCounters)
    counters = layout.from_bits(engine.peek("cache"))
    return {name: getattr(counters, name) for name, _ in layout}


def received(engine: Engine, since: int, stream: int = 0) -> Emitted:
    """Return the token that a simulated core presents in this cycle.

    Parameters
    ----------
    engine
        The core's simulation.
    since
        Cycle from which the token's cycles are counted.
    stream
        Stream that it belongs to.
    """
    token = data.Layout.cast(Token).from_bits(engine.peek("o__payload"))
    cycle = engine.cycles
    return Emitted(token.token, token.position, bool(token.last), cycle, cycle - since, stream)


class CoreSession:
    """Drives a core through its ports.

    Parameters
    ----------
    core
        The hardware, for its dimensions.
    engine
        Its simulation; the session is its only user.
    bos
        Token that begins a document of the model that the core holds; loading another model
        replaces it.
    """

    def __init__(self, core: FoldedCore, engine: Engine, bos: int = 0):
        self.core = core
        self.engine = engine
        self._bos = bos
        self._endless = core.machine.eviction is not Eviction.NONE
        self._previous = 0
        engine.poke("o__ready", 1)

    def load(self, image: Image) -> int:
        """Write an image into the core and return the cycles taken.

        Raises
        ------
        UserError
            If the image does not fit the hardware.
        """
        image.check_fits(self.core.machine)
        begun = self.engine.cycles
        fields = data.Layout.cast(Write)
        region_at, address_at, data_at = (fields[name].offset for name in fields.members)
        writes = (
            region << region_at | address << address_at | byte << data_at
            for region, address, byte in image.writes(self.core.machine)
        )
        self._send("load", writes)
        self._bos = SETTINGS.unpack_from(image.regions[Region.SETTINGS])[0]
        return self.engine.cycles - begun

    def seed(self, seed: int) -> None:
        """Set the state of the random numbers."""
        self._send("seed", [seed])

    def read(self, region: Region, address: int) -> int:
        """Read back a byte of the core's memories, after waiting for the end of a document."""
        self.engine.poke("read__payload", encode(Address, region=region, address=address))
        self.engine.poke("read__valid", 1)
        self._wait("read__ready")
        byte = self.engine.peek("read_data")
        self.engine.step()
        self.engine.poke("read__valid", 0)
        return byte

    def temperature(self, scale: LogitScale) -> None:
        """Set the logits' scale for the following tokens."""
        self.engine.poke("temperature", encode_scale(scale))

    def tokens(self, prompt: Sequence[int] = ()) -> Iterator[Emitted]:
        """Yield documents without end, token by token; the next one is requested without a gap.

        If the core's cache evicts, the documents are one stream, which is requested once.

        Parameters
        ----------
        prompt
            Token ids that every document, or the stream, starts with.
        """
        known = [self._bos, *prompt]
        self._previous = self.engine.cycles
        while True:
            self.ask(known)
            reading = self.engine.cycles - self._previous if prompt else 0
            while not (emitted := self._receive(reading)).last or self._endless:
                reading = 0
                yield emitted
                # The token is taken with the next edge; after a document's last one, that edge
                # takes the next document's first token as well.
                self.engine.step()
            yield emitted

    def ask(self, known: Sequence[int]) -> None:
        """Give the core a document's known tokens, including the first one of all documents."""
        last = len(known) - 1
        for i, token in enumerate(known):
            self._send("i", [encode(Prompt, token=token, last=i == last)])

    def cache(self) -> dict[str, int]:
        """Return the core's :class:`.CacheCounters`, by name."""
        return cache_counters(self.engine)

    def watch(self) -> None:
        """Record the core's tap from now on."""
        self.engine.record(["tap"])

    def watched(self) -> list[int]:
        """Return the tap in every cycle since :meth:`watch`."""
        return [int.from_bytes(row.tobytes(), "little") for row in self.engine.recording()["tap"]]

    def _send(self, port: str, items: Iterable[int]) -> None:
        """Hand items to an input stream."""
        if not self.engine.send(port, items, LONGEST_STEP):
            raise HangError(f"the core did not take {port} within {LONGEST_STEP} cycles")

    def _receive(self, reading: int = 0) -> Emitted:
        self._wait("o__valid")
        emitted = replace(received(self.engine, self._previous), prompt=reading)
        self._previous = emitted.cycle
        return emitted

    def _wait(self, port: str) -> None:
        self.engine.run(LONGEST_STEP, port)
        if not self.engine.peek(port):
            raise HangError(f"the core did not raise {port} within {LONGEST_STEP} cycles")


def encode(shape, **fields: int) -> int:
    """Return the bits of a struct with these fields, as ports take them."""
    return data.Layout.cast(shape).const(fields).as_bits()
