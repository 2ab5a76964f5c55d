"""An unrolled core under simulation: documents of several streams, compared with the golden model.

Each stream is compared with the golden model's run of that stream alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from amaranth.lib import data

from gptloom.hdl.core import Prompt, Token
from gptloom.hdl.unrolled.core import UnrolledCore
from gptloom.model.golden import GeneratedToken
from gptloom.model.merged.golden import GoldenModel, Stream
from gptloom.model.merged.integer import MergedModel
from gptloom.sim.engines import Engine
from gptloom.sim.generation import MismatchError
from gptloom.sim.session import LONGEST_STEP, HangError, cache_counters, encode


@dataclass(frozen=True)
class StreamToken(GeneratedToken):
    """A token on the core's output.

    Attributes
    ----------
    stream
        Whose it is.
    cycle
        Clock cycle in which it was taken.
    cycles
        Cycles since the stream's token before it; of its first one, since the stream was given its
        first known token.
    """

    stream: int
    cycle: int
    cycles: int


class StreamSession:
    """Drives an unrolled core through its ports.

    Parameters
    ----------
    core
        The hardware.
    engine
        Its simulation, from power-on or after a reset; the session is its only user.
    model
        What the core computes.
    streams
        What each stream is made with, at most as many as the core has; the others stay empty.
        With eviction the prompt of each is offered once.
    """

    def __init__(
        self, core: UnrolledCore, engine: Engine, model: MergedModel, streams: Sequence[Stream]
    ):
        if not 1 <= len(streams) <= core.streams:
            raise ValueError(f"{len(streams)} streams: the core has {core.streams}")
        self._engine = engine
        bos = model.tokenizer.bos
        self._known: list[list[int] | None] = [[bos, *stream.prompt] for stream in streams]
        self._endless = model.config.endless
        self._scales = [core.encode_scale(model.noise_scale(s.temperature)) for s in streams]
        self._seeds: list[int | None] = [stream.seed for stream in streams]
        self._place = [0] * len(streams)
        self._since: list[int | None] = [None] * len(streams)

    def tokens(self) -> Iterator[StreamToken]:
        """Tokens of all streams as they come, without end.

        Raises
        ------
        HangError
            If none comes for a long time.
        """
        engine = self._engine
        last = engine.cycles
        while True:
            engine.poke("o__ready", 1)
            self._offer(engine.peek("turn"))
            token = self._received() if engine.peek("o__valid") else None
            engine.step()
            if token:
                last = engine.cycles
                yield token
            elif engine.cycles - last > LONGEST_STEP:
                raise HangError(f"no token in {LONGEST_STEP} cycles")

    def ask(self, stream: int, known: Sequence[int], seed: int | None = None) -> None:
        """Offer a stream another prompt, the first token of all documents included, and a seed."""
        self._known[stream], self._place[stream] = [*known], 0
        self._seeds[stream] = seed

    def stall(self, cycles: int) -> None:
        """Take no token for so many cycles."""
        self._engine.poke("o__ready", 0)
        for _ in range(cycles):
            self._offer(self._engine.peek("turn"))
            self._engine.step()

    def _offer(self, stream: int) -> None:
        """Give a stream in its turn its seed first, and then what is known of its documents."""
        engine = self._engine
        known = self._known[stream] if stream < len(self._known) else None
        seed = self._seeds[stream] if known else None
        engine.poke("seed__valid", int(seed is not None))
        engine.poke("i__valid", int(known is not None and seed is None))
        if stream < len(self._scales):
            engine.poke("temperature", self._scales[stream])
        if not known:
            return
        if seed is not None:
            engine.poke("seed__payload", seed)
            if engine.peek("seed__ready"):
                self._seeds[stream] = None
            return
        place = self._place[stream]
        payload = encode(Prompt, token=known[place], last=place + 1 == len(known))
        engine.poke("i__payload", payload)
        if engine.peek("i__ready"):
            self._place[stream] = (place + 1) % len(known)
            if self._endless and self._place[stream] == 0:
                self._known[stream] = None
            if self._since[stream] is None:
                self._since[stream] = engine.cycles

    def _received(self) -> StreamToken:
        engine = self._engine
        token = data.Layout.cast(Token).from_bits(engine.peek("o__payload"))
        stream, cycle = engine.peek("o_stream"), engine.cycles
        since, self._since[stream] = self._since[stream], cycle
        return StreamToken(
            token.token, token.position, bool(token.last), stream, cycle, cycle - since
        )


@dataclass
class StreamGeneration:
    """What came out of the hardware.

    Attributes
    ----------
    documents
        Stream and token ids of each document in the order in which they ended, prompt included
        where the document begins with it, end token left out.
    tokens, tokens_of
        Sampled tokens of all streams, end tokens and those of unfinished documents included; and
        those of each.
    cycles
        Clock cycles from the first one to the last token.
    filling, filling_tokens
        Of these, until every stream had its first token: seeds are taken one after the other. And
        the tokens until then.
    intervals, positions
        Cycles from token to token of a stream; and the tokens' positions.
    cache
        What happened in the KV cache, by the names of :class:`.CacheCounters`.
    """

    documents: list[tuple[int, list[int]]] = field(default_factory=list)
    tokens: int = 0
    tokens_of: list[int] = field(default_factory=list)
    cycles: int = 0
    filling: int = 0
    filling_tokens: int = 0
    intervals: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    cache: dict[str, int] = field(default_factory=dict)

    @property
    def cycles_per_token(self) -> float:
        """Of a single stream, its mean."""
        return sum(self.intervals) / len(self.intervals)

    @property
    def cycles_per_token_of_all(self) -> float:
        """Of all streams together, the pipeline's filling included."""
        return self.cycles / self.tokens

    @property
    def steady_cycles_per_token(self) -> float:
        """Of all streams together, once the pipeline is full."""
        return (self.cycles - self.filling) / (self.tokens - self.filling_tokens)


def generate_streams(
    core: UnrolledCore,
    engine: Engine,
    model: MergedModel,
    streams: Sequence[Stream],
    count: int,
    emit: Callable[[int, list[int]], None] = lambda stream, document: None,
) -> StreamGeneration:
    """Generate documents and compare every token with the golden model's.

    Parameters
    ----------
    core, engine, model, streams
        See :class:`StreamSession`; the engine is reset.
    count
        Documents of all streams together.
    emit
        Called with each document as the hardware finishes it.

    Raises
    ------
    MismatchError
        Of the first token that is not the golden model's.
    """
    engine.reset()
    golden = GoldenModel(model)
    expected = [golden.generate(s.seed, s.temperature, s.prompt) for s in streams]
    generation = StreamGeneration(tokens_of=[0] * len(streams))
    documents: list[list[int]] = [[*stream.prompt] for stream in streams]
    for seen in StreamSession(core, engine, model, streams).tokens():
        right = next(expected[seen.stream])
        if (seen.token, seen.position, seen.last) != (right.token, right.position, right.last):
            raise MismatchError(
                f"hardware and golden model differ in stream {seen.stream} after position "
                f"{seen.position}, in cycle {seen.cycle}: token {seen.token} instead of "
                f"{right.token}, position {right.position}"
            )
        generation.tokens += 1
        generation.tokens_of[seen.stream] += 1
        generation.cycles = seen.cycle + 1
        if generation.tokens_of[seen.stream] == 1:
            generation.filling, generation.filling_tokens = generation.cycles, generation.tokens
        generation.intervals.append(seen.cycles)
        generation.positions.append(seen.position)
        document = documents[seen.stream]
        if seen.token != model.tokenizer.bos:
            document.append(seen.token)
        if seen.last:
            generation.documents.append((seen.stream, document))
            emit(seen.stream, document)
            # Of a stream without end only the first one begins with the prompt.
            begins = () if model.config.endless else streams[seen.stream].prompt
            documents[seen.stream] = [*begins]
            if len(generation.documents) == count:
                break
    generation.cache = cache_counters(engine)
    return generation
