"""Generating names on simulated hardware, measured and compared with the golden model."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from statistics import mean

from gptloom.firmware.image import Image
from gptloom.firmware.layout import Layout
from gptloom.firmware.machine import Machine
from gptloom.firmware.program import compile_program
from gptloom.hdl.folded.core import FoldedCore
from gptloom.model.golden import GeneratedToken
from gptloom.model.integer import IntegerModel
from gptloom.model.merged.integer import MergedModel
from gptloom.model.recurrent import golden_of
from gptloom.sim.divergence import (
    Divergence,
    Written,
    first_divergence,
    traced,
    written_values,
)
from gptloom.sim.engines import Engine, open_engine
from gptloom.sim.engines.cache import code_digest
from gptloom.sim.session import CoreSession, Emitted

CLOCK_MHZ = 80.0


@dataclass(frozen=True)
class Request:
    """Documents to generate.

    Attributes
    ----------
    count
        Number of documents.
    temperature
        Sampling temperature, 0.1 to 2.0, or 0 for greedy decoding.
    seed
        Seed of the noise, 1 to 2**32 - 1.
    prompt
        Token ids that every document starts with.
    most
        Most tokens of all documents together, if there is a limit: the last document is cut.
    """

    count: int
    temperature: float
    seed: int
    prompt: tuple[int, ...] = ()
    most: int | None = None


Tell = Callable[[Emitted, list[int]], None]
"""Called with every token of the hardware, and its document so far, which the token may end."""


def silent(token: Emitted, document: list[int]) -> None:
    """Tell nobody."""


@dataclass
class Generation:
    """Documents that came out of the hardware, and every token's cycles.

    Attributes
    ----------
    begun
        Clock cycle before the first one that counts.
    emitted
        Sampled tokens of all streams in order of arrival, including end tokens and those of
        unfinished documents.
    documents
        Stream and token ids of each document in the order in which they ended: with the prompt, if
        the document begins with it, and without the end token. The last one may have been cut.
    cache
        Events in the KV cache, by the names of :class:`.CacheCounters`.
    """

    begun: int
    emitted: list[Emitted] = field(default_factory=list)
    documents: list[tuple[int, list[int]]] = field(default_factory=list)
    cache: dict[str, int] = field(default_factory=dict)

    def collect(
        self,
        hardware: Iterator[Emitted],
        model: IntegerModel | MergedModel,
        prompts: Sequence[Sequence[int]],
        count: int,
        tell: Tell = silent,
        most: int | None = None,
    ) -> None:
        """Take tokens until there are enough documents, or tokens.

        Parameters
        ----------
        hardware
            Tokens as they arrive.
        model
            The network.
        prompts
            Prompt of each stream.
        count
            Documents of all streams together.
        tell
            See :data:`Tell`.
        most
            Most tokens, if there is a limit.
        """
        unfinished = [[*prompt] for prompt in prompts]
        for seen in hardware:
            self.emitted.append(seen)
            document = unfinished[seen.stream]
            if seen.token != model.tokenizer.bos:
                document.append(seen.token)
            tell(seen, document)
            cut = len(self.emitted) == most
            if seen.last or cut:
                self.documents.append((seen.stream, document))
                # An endless stream begins with its prompt once.
                unfinished[seen.stream] = [] if model.config.endless else [*prompts[seen.stream]]
            if cut or len(self.documents) == count:
                return

    @property
    def names(self) -> list[list[int]]:
        """Token ids of each document."""
        return [document for _, document in self.documents]

    @property
    def tokens(self) -> int:
        """Number of sampled tokens."""
        return len(self.emitted)

    @property
    def tokens_of(self) -> Counter[int]:
        """Number of sampled tokens by stream."""
        return Counter(token.stream for token in self.emitted)

    @property
    def cycles(self) -> int:
        """Clock cycles from the first one to the last token."""
        return self.emitted[-1].cycle - self.begun

    @property
    def cycles_per_token(self) -> float:
        """Mean over all tokens of the cycles since the previous one in the same stream."""
        return sum(token.cycles for token in self.emitted) / self.tokens

    @property
    def cycles_per_token_of_all(self) -> float:
        """Mean over all streams together, including the time to fill the pipeline."""
        return self.cycles / self.tokens

    @property
    def steady_cycles_per_token(self) -> float:
        """Mean over all streams together, from when each of them has had a token."""
        firsts: dict[int, int] = {}
        for place, token in enumerate(self.emitted):
            firsts.setdefault(token.stream, place)
        full = max(firsts.values())
        passed = self.emitted[-1].cycle - self.emitted[full].cycle
        return passed / (self.tokens - full - 1)

    @property
    def cycles_by_position(self) -> dict[int, list[int]]:
        """Cycles of every sampled token by the position that it was computed at.

        The prompt's tokens before that position are left out.
        """
        found = defaultdict(list)
        for token in self.emitted:
            found[token.position].append(token.cycles - token.prompt)
        return dict(sorted(found.items()))

    @property
    def cycles_per_prompt_token(self) -> float | None:
        """Mean cycles of the known tokens before the one that is sampled after; None without."""
        # The first token of all is at position 0.
        firsts = [token for token in self.emitted if token.prompt]
        known = sum(token.position for token in firsts)
        return sum(token.prompt for token in firsts) / known if known else None

    def mean_by_position(self) -> dict[int, float]:
        """Return the mean cycles of a token, by position."""
        return {position: mean(cycles) for position, cycles in self.cycles_by_position.items()}


def identity_of(core: FoldedCore) -> str:
    """Return everything that a core depends on, as text, if it has no other multipliers or preload.

    It is for :func:`.open_engine`: the design of many lanes takes seconds to make.
    """
    code = code_digest("gptloom.hdl", "gptloom.firmware", "gptloom.model")
    return repr((core.machine, core.cached, code))


def open_folded(core: FoldedCore, simulate: Callable[..., Engine] = open_engine) -> Engine:
    """Open a folded core's simulation; those of texts, long ones, are optimised in full."""
    return simulate(core, identity=identity_of(core), thorough=core.machine.gated)


class MismatchError(Exception):
    """Hardware and golden model do not generate the same tokens."""


def ahead(tokens: Iterator[GeneratedToken]) -> Iterator[GeneratedToken]:
    """Yield tokens, each computed in a thread while the hardware computes the one before it."""
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, tokens)
        while True:
            token = coming.result()
            coming = thread.submit(next, tokens)
            yield token


def compared(hardware: Iterator[Emitted], *golden: Iterator[GeneratedToken]) -> Iterator[Emitted]:
    """Yield the hardware's tokens as long as they equal the golden model's.

    Parameters
    ----------
    hardware
        Tokens as they arrive.
    golden
        Tokens that the golden model generates for each stream alone.

    Raises
    ------
    MismatchError
        If a token, its position, or its end-of-document flag differs.
    """
    for seen in hardware:
        right = next(golden[seen.stream])
        if (seen.token, seen.position, seen.last) != (right.token, right.position, right.last):
            stream = f" in stream {seen.stream}" if len(golden) > 1 else ""
            raise MismatchError(
                f"hardware and golden model differ{stream} after position {seen.position}, in "
                f"cycle {seen.cycle}: token {seen.token} instead of {right.token}, position "
                f"{right.position}"
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
        The model's image for this machine, to be loaded.
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

    def run(self, request: Request, tell: Tell = silent) -> Generation:
        """Generate documents and compare every token with the golden model's.

        Parameters
        ----------
        request
            Documents to generate.
        tell
            See :data:`Tell`.

        Raises
        ------
        MismatchError
            With the first divergence: layer, site, element and cycle.
        """
        golden = golden_of(self.model).generate(request.seed, request.temperature, request.prompt)
        session, hardware = self.start(request)
        generation = Generation(self.engine.cycles)
        seen = compared(hardware, ahead(golden))
        try:
            generation.collect(
                seen, self.model, [request.prompt], request.count, tell, request.most
            )
        except MismatchError as error:
            number = len(generation.documents)
            raise MismatchError(f"{error}: {self._explain(request, number)}") from None
        generation.cache = session.cache()
        return generation

    def start(self, request: Request) -> tuple[CoreSession, Iterator[Emitted]]:
        """Reset and load the core; return the session that drives it, and the tokens to come."""
        self.engine.reset()
        session = CoreSession(self.core, self.engine)
        session.load(self.image)
        session.temperature(self.model.logit_scale(request.temperature))
        session.seed(request.seed)
        return session, session.tokens(request.prompt)

    def _explain(self, request: Request, number: int) -> str:
        divergence = self.find_divergence(request, number)
        where = f"first divergence in {divergence}" if divergence else (
            "every intermediate value is equal, so the sampler differs"
        )  # fmt: skip
        return f"in document {number + 1}, {where}"

    def find_divergence(self, request: Request, number: int) -> Divergence | None:
        """Run again up to a document, and compare all its intermediate values.

        Parameters
        ----------
        request
            The original request.
        number
            Number of the document, counted from 0.
        """
        traces: list[dict] = []
        golden = golden_of(self.model).generate(
            request.seed,
            request.temperature,
            request.prompt,
            lambda document, _: traced(traces if document == number else []),
        )
        session, hardware = self.start(request)
        for _ in range(number):
            _next_document(golden)
            _next_document(hardware)
        session.watch()
        first, before = self.engine.cycles, session.cache()["reused"]
        _next_document(golden)
        _next_document(hardware)
        # Rows kept from the previous document are not computed.
        traces = traces[session.cache()["reused"] - before :]
        return first_divergence(self.written(session.watched(), first), traces)

    def written(self, taps: list[int], first: int) -> Iterator[Written]:
        """Yield the values that the core wrote, from its tap in the cycles from `first` on."""
        layout = Layout(self.machine, self.model.config)
        return written_values(self.core, compile_program(self.model, layout), layout, taps, first)


def _next_document(tokens: Iterator[GeneratedToken]) -> None:
    """Read up to the end of a document."""
    while not next(tokens).last:
        pass
