"""Generating names on simulated hardware, measured and compared with the golden model."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from statistics import mean
from typing import TypeVar

from gptloom.firmware.image import Image
from gptloom.firmware.layout import Layout
from gptloom.firmware.machine import Machine
from gptloom.firmware.program import compile_program
from gptloom.hdl.folded.core import FoldedCore
from gptloom.model.golden import GeneratedToken, Trace
from gptloom.model.integer import IntegerModel
from gptloom.model.recurrent import golden_of
from gptloom.sim.divergence import Divergence, first_divergence, written_values
from gptloom.sim.engines import Engine
from gptloom.sim.session import CoreSession, Emitted

CLOCK_MHZ = 80.0

Emission = TypeVar("Emission", bound=GeneratedToken)


@dataclass(frozen=True)
class Request:
    """What to generate.

    Attributes
    ----------
    count
        Documents.
    temperature
        0.1 to 2.0, or 0 for greedy.
    seed
        1 to 2**32 - 1.
    prompt
        Token ids that every document starts with.
    """

    count: int
    temperature: float
    seed: int
    prompt: tuple[int, ...] = ()


@dataclass
class Generation:
    """What came out of the hardware.

    Attributes
    ----------
    documents
        Token ids of each document, prompt and end token left out.
    names
        The same with the prompt, where they began with it.
    cycles_by_position
        Cycles of every token by the position it was computed at. Reading the prompt counts for
        the first token after it.
    cache
        What happened in the KV cache, by the names of :class:`.CacheCounters`.
    """

    documents: list[list[int]] = field(default_factory=list)
    names: list[list[int]] = field(default_factory=list)
    cycles_by_position: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    cache: dict[str, int] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        """Sampled tokens, end tokens included."""
        return sum(map(len, self.cycles_by_position.values()))

    @property
    def cycles(self) -> int:
        """Clock cycles from the first request to the last token."""
        return sum(map(sum, self.cycles_by_position.values()))

    @property
    def cycles_per_token(self) -> float:
        """Mean over all tokens of whole documents."""
        return self.cycles / self.tokens

    def mean_by_position(self) -> dict[int, float]:
        """Mean cycles of a token, by position."""
        return {p: mean(values) for p, values in sorted(self.cycles_by_position.items())}


class MismatchError(Exception):
    """Hardware and golden model do not generate the same tokens."""


def compared(hardware: Iterator[Emission], golden: Iterator[GeneratedToken]) -> Iterator[Emission]:
    """Yield the hardware's tokens as long as they are the golden model's.

    Raises
    ------
    MismatchError
        Of the first one that is not.
    """
    for seen, right in zip(hardware, golden, strict=False):
        same = seen.token == right.token and seen.position == right.position
        if not same or seen.last != right.last:
            raise MismatchError(
                f"hardware and golden model differ after position {seen.position}: token "
                f"{seen.token} instead of {right.token}"
            )
        yield seen


class Generator:
    """A core, its image and its golden model, ready to generate.

    Parameters
    ----------
    model
        The network.
    machine
        Dimensions of the hardware.
    open_engine
        Opens a simulation of the core.
    image
        What is loaded: the model's, for this machine.
    """

    def __init__(
        self,
        model: IntegerModel,
        machine: Machine,
        open_engine: Callable[[FoldedCore], Engine],
        image: Image,
    ):
        self.model = model
        self.machine = machine
        self.image = image
        self.core = FoldedCore(machine)
        self.engine = open_engine(self.core)

    def run(
        self, request: Request, emit: Callable[[list[int]], None] = lambda document: None
    ) -> Generation:
        """Generate documents and compare every token with the golden model's.

        Parameters
        ----------
        request
            What to generate.
        emit
            Called with each document as the hardware finishes it.

        Raises
        ------
        MismatchError
            With the first divergence: layer, site, element and cycle.
        """
        expected = golden_of(self.model).generate(request.seed, request.temperature, request.prompt)
        generation = Generation()
        document: list[int] = []
        session, hardware = self._start(request)
        for seen, right in zip(hardware, expected, strict=False):
            if (seen.token, seen.position, seen.last) != (right.token, right.position, right.last):
                number = len(generation.documents)
                raise MismatchError(self._explain(request, number, seen, right.token))
            generation.cycles_by_position[seen.position].append(seen.cycles)
            if seen.token != self.model.tokenizer.bos:
                document.append(seen.token)
            if seen.last:
                generation.documents.append(document)
                # Of a stream only the first document begins with the prompt.
                begins = not (generation.names and self.model.config.endless)
                generation.names.append([*(request.prompt if begins else ()), *document])
                emit(generation.names[-1])
                document = []
                if len(generation.documents) == request.count:
                    break
        generation.cache = session.cache()
        return generation

    def _start(self, request: Request) -> tuple[CoreSession, Iterator[Emitted]]:
        self.engine.reset()
        session = CoreSession(self.core, self.engine)
        session.load(self.image)
        session.temperature(self.model.logit_scale(request.temperature))
        session.seed(request.seed)
        return session, session.tokens(request.prompt)

    def _explain(self, request: Request, number: int, seen: Emitted, right: int) -> str:
        divergence = self.find_divergence(request, number)
        where = f"first divergence in {divergence}" if divergence else (
            "every intermediate value is equal, so the sampler differs"
        )  # fmt: skip
        return (
            f"hardware and golden model differ in document {number + 1} after position "
            f"{seen.position} (token {seen.token} instead of {right}): {where}"
        )

    def find_divergence(self, request: Request, number: int) -> Divergence | None:
        """Run again up to a document, and compare its every intermediate value.

        Parameters
        ----------
        request
            As it was.
        number
            The document, counted from 0.
        """
        traces: list[dict] = []

        def receive(document: int, position: int) -> Trace:
            values: dict = {}
            if document == number:
                traces.append(values)
            return lambda layer, site, value: values.__setitem__((layer, site), value)

        golden = golden_of(self.model).generate(
            request.seed, request.temperature, request.prompt, receive
        )
        session, hardware = self._start(request)
        for _ in range(number):
            _next_document(golden)
            _next_document(hardware)
        session.taps = []
        first, before = self.engine.cycles, session.cache()["reused"]
        _next_document(golden)
        _next_document(hardware)
        # What is kept of the document before is not computed.
        traces = traces[session.cache()["reused"] - before :]
        layout = Layout(self.machine, self.model.config)
        slots = compile_program(self.model, layout)
        written = written_values(self.core, slots, layout, session.taps, first)
        return first_divergence(written, traces)


def _next_document(tokens: Iterator[GeneratedToken]) -> None:
    """Read up to a document's end."""
    while not next(tokens).last:
        pass
